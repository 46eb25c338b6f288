//! The thread that owns the model. It is pinned to the CPU that has no worker of its own.
//!
//! Between two turns of the requests in flight it does errands: loading, unloading, what else needs the model.

use super::errand::{Counter, Done, Errand};
use super::flight::{Flight, NotYet};
use super::open::{self, Model};
use super::{SHOWN, desk, prefixes, source, worst_case};
use crate::arch::time;
use crate::memory::shortage::MayRefuse;
use crate::services::parallel::{CALLER_CPU, WORKERS};
use crate::tasks::{self, SpawnError};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use llm::engine::{EngineError, Flow, GenerateOptions, Origin, Piece, Sequence};
use llm::service::{Failure, MAX_RUNNING, RequestId, Turn};
use llm::tokenizer::Special;
use shell::slm::SlmError;

/// Name of the thread.
pub const THREAD: &str = "slm";

static COUNTER: Counter = Counter::new();

/// Rows of prompts in a turn while others decode: so that these wait for little more than a token's time.
const PROMPT_BESIDE_OTHERS: usize = 16;
/// Rows of prompts in a turn otherwise.
const PROMPT_ALONE: usize = 64;
/// Tokens by which the worst case of one is measured.
const MEASURED_TOKENS: usize = 8;

/// Starts the thread.
pub fn start() -> Result<(), SpawnError> {
    prefixes::start();
    tasks::spawn(THREAD, tasks::Options::on_cpu(CALLER_CPU), serve)?;
    Ok(())
}

/// Has the model's thread do something.
pub fn ask(errand: Errand) -> Result<Done, SlmError> {
    COUNTER.ask(errand)
}

/// The thread's life.
fn serve() {
    let mut model: Option<Model> = None;
    let mut flights: Vec<Flight> = Vec::with_capacity(MAX_RUNNING);
    let mut turn = Turn::default();
    let mut given_up = false;
    loop {
        let seen = desk::with(|desk| desk.changes()).unwrap_or(0);
        if desk::with(|desk| desk.end_late(time::uptime_nanos())) == Some(true) {
            desk::tell_clients();
        }
        if let Some(errand) = COUNTER.next() {
            COUNTER.done(run(errand, &mut model, &mut flights));
            continue;
        }
        let worked = model.as_mut().is_some_and(|model| work(model, &mut flights, &mut turn, &mut given_up));
        if !worked {
            desk::wait_for_work(seen, || COUNTER.has_errand());
        }
    }
}

/// Starts what may start and does one turn of all that are in flight. Says whether anything was done.
fn work(model: &mut Model, flights: &mut Vec<Flight>, turn: &mut Turn, given_up: &mut bool) -> bool {
    let mut worked = false;
    while let Some((id, job)) = desk::with(|desk| desk.start_next(time::uptime_nanos())).flatten() {
        worked = true;
        match Flight::begin(model, id, job) {
            Ok(flight) => flights.push(flight),
            // Nobody else holds any of the cache, so waiting would not help.
            Err(NotYet::Full(_)) if flights.is_empty() => {
                fail(id, Failure::Engine(String::from("the cache has no room for it")));
            }
            Err(NotYet::Full(job)) => {
                desk::with(|desk| desk.put_back(id, *job));
                break;
            }
            Err(NotYet::Failed(error)) => fail(id, error),
        }
    }
    desk::with(|desk| desk.turn(time::uptime_nanos(), turn));
    for (id, end) in turn.end() {
        worked = true;
        let Some(at) = flights.iter().position(|flight| flight.id == id) else { continue };
        let (_, counts) = flights.swap_remove(at).end(&mut model.engine);
        desk::with(|desk| desk.complete(id, end, counts, time::uptime_nanos()));
        desk::tell_clients();
    }
    if step(model, flights, turn, given_up) {
        worked = true;
        finish(model, flights);
    }
    worked
}

/// One turn of the requests that may go on; whether there were any. It is given up where a request is to be ended, but not twice in a row:
/// who cancels again and again does not keep others from their tokens.
fn step(model: &mut Model, flights: &mut [Flight], turn: &Turn, given_up: &mut bool) -> bool {
    let beside = turn.paced() || !turn.run().is_empty();
    let most = if beside { PROMPT_BESIDE_OTHERS } else { PROMPT_ALONE };
    let (reading, rows) = reading(flights, turn, most);
    // In the desk's order, tokens first.
    let order: heapless::Vec<RequestId, { 2 * MAX_RUNNING }> =
        turn.run().iter().chain(&reading).copied().collect();
    let place = |flight: &Flight| order.iter().position(|id| *id == flight.id).unwrap_or(usize::MAX);
    flights.sort_unstable_by_key(place);
    let count = order.len().min(flights.len());
    if count == 0 {
        return false;
    }
    let flights = &mut flights[..count];
    let ids: heapless::Vec<(RequestId, bool), MAX_RUNNING> =
        flights.iter().map(|flight| (flight.id, flight.as_numbers)).collect();
    let unread: heapless::Vec<usize, MAX_RUNNING> =
        flights.iter().map(|flight| flight.sequence.prompt_left()).collect();
    let mut sequences: heapless::Vec<&mut Sequence, MAX_RUNNING> =
        flights.iter_mut().map(|flight| &mut flight.sequence).collect();
    let mut tokens = 0;
    let began = computed_nanos();
    let may_give_up = !*given_up;
    let must_end = || desk::with(|desk| desk.must_end(time::uptime_nanos())).unwrap_or(false);
    let mut go_on = || !(may_give_up && must_end());
    let done = model.engine.step(&mut sequences, rows, &mut go_on, &mut |index, piece| {
        let Some(&(id, as_numbers)) = ids.get(index) else { return Flow::Continue };
        tokens += u64::from(piece.origin == Origin::Model);
        deliver(id, as_numbers, &piece);
        Flow::Continue
    });
    let took = computed_nanos().saturating_sub(began);
    *given_up = done.is_none();
    // Alone: a token of a batch takes less, and prompts take what they take.
    if done.is_some_and(|done| done.prompt == 0) && tokens == 1 {
        worst_case::saw(took);
    }
    drop(sequences);
    for (flight, before) in flights.iter().zip(unread) {
        let read = before.saturating_sub(flight.sequence.prompt_left());
        if read > 0 {
            desk::with(|desk| desk.read(flight.id, read as u32, time::uptime_nanos()));
        }
    }
    desk::with(|desk| desk.stepped());
    desk::tell_clients();
    true
}

/// Whose prompts are read in this turn, and how many rows of them. Under a budget one at a time: so a first token comes only where
/// the turn allows one.
fn reading(flights: &[Flight], turn: &Turn, most: usize) -> (heapless::Vec<RequestId, MAX_RUNNING>, usize) {
    let most = most.min(turn.rows() as usize);
    if !turn.paced() {
        return (turn.reading().iter().copied().collect(), most);
    }
    for id in turn.reading() {
        let Some(flight) = flights.iter().find(|flight| flight.id == *id) else { continue };
        let left = flight.sequence.prompt_left();
        let rows = if turn.first_tokens() > 0 { most } else { most.min(left.saturating_sub(1)) };
        if rows > 0 {
            return (core::iter::once(*id).collect(), rows);
        }
    }
    (heapless::Vec::new(), 0)
}

fn deliver(id: RequestId, as_numbers: bool, piece: &Piece<'_>) {
    let (record, counted) = match piece.origin {
        Origin::Prompt => return,
        Origin::Record => (true, 1),
        Origin::Model => (false, 1),
        Origin::Rest if as_numbers => return,
        Origin::Rest => (false, 0),
    };
    let number = piece.token.to_le_bytes();
    let bytes = if as_numbers { &number } else { piece.bytes };
    desk::with(|desk| desk.deliver(id, bytes, counted, record, time::uptime_nanos()));
}

/// CPU time that this thread has computed for. Waiting for a worker whose CPU others take does not count: under a budget the workers have
/// their time reserved, too.
fn computed_nanos() -> u64 {
    tasks::run_nanos().saturating_sub(WORKERS.waited_nanos())
}

/// Ends the requests whose sequence has ended.
fn finish(model: &mut Model, flights: &mut Vec<Flight>) {
    while let Some(at) = flights.iter().position(|flight| flight.sequence.ended().is_some()) {
        let flight = flights.swap_remove(at);
        let id = flight.id;
        let (end, counts) = flight.end(&mut model.engine);
        let now = time::uptime_nanos();
        desk::with(|desk| match end {
            Ok(end) => desk.complete(id, end, counts, now),
            Err(error) => desk.fail(id, error, counts, now),
        });
        if counts.tokens > 0 && counts.decode_ns > 0 {
            let rate = f64::from(counts.tokens) * 1e9 / counts.decode_ns as f64;
            SHOWN.lock().last_tokens_per_second = Some(rate);
        }
        desk::tell_clients();
    }
}

fn fail(id: RequestId, error: Failure) {
    desk::with(|desk| desk.fail(id, error, Default::default(), time::uptime_nanos()));
    desk::tell_clients();
}

fn run(errand: Errand, model: &mut Option<Model>, flights: &mut Vec<Flight>) -> Result<Done, SlmError> {
    let not_loaded = || SlmError::NotLoaded { reason: String::from("it was unloaded meanwhile") };
    match (errand, model.as_mut()) {
        (Errand::Load(_), Some(_)) => Err(SlmError::AlreadyLoaded),
        (Errand::Load(name), None) => {
            // A file may ask for any number of names.
            let _reported = MayRefuse::begin();
            let source = source::find(name.as_deref())?;
            *model = Some(open::open(source)?);
            Ok(Done::Nothing)
        }
        (Errand::Unload, Some(loaded)) => {
            desk::set_open(false);
            for flight in flights.drain(..) {
                // The desk has failed them all.
                let _ = flight.end(&mut loaded.engine);
            }
            *model = None;
            prefixes::clear();
            open::show_unloaded("unloaded by `slm unload`");
            Ok(Done::Nothing)
        }
        (Errand::Unload, None) => Err(SlmError::NotInMemory),
        (_, None) => Err(not_loaded()),
        (Errand::Encode(text), Some(model)) => {
            let mut tokens = Vec::new();
            model.engine.tokenizer().encode(&text, Special::Parse, &mut tokens);
            Ok(Done::Tokens(tokens))
        }
        (Errand::Decode(tokens), Some(model)) => {
            let mut bytes = Vec::new();
            tokens.iter().for_each(|token| model.engine.tokenizer().decode(*token, &mut bytes));
            Ok(Done::Bytes(bytes))
        }
        (Errand::Greedy(text, tokens), Some(model)) => {
            continue_greedily(model, &text, tokens).map(Done::Tokens)
        }
        (Errand::Measure, Some(model)) => measure(model).map(|()| Done::Nothing),
    }
}

fn continue_greedily(model: &mut Model, text: &str, tokens: usize) -> Result<Vec<u32>, SlmError> {
    let mut prompt = Vec::new();
    model.engine.tokenizer().encode(text, Special::Parse, &mut prompt);
    let mut ids = Vec::new();
    let mut keep = |piece: Piece<'_>| {
        if piece.origin == Origin::Model {
            ids.push(piece.token);
        }
        Flow::Continue
    };
    let options = GenerateOptions { max_tokens: tokens, ..GenerateOptions::default() };
    model.engine.generate_with(&prompt, options, &mut keep).map_err(engine_error)?;
    Ok(ids)
}

/// Makes some tokens and takes the time of each.
fn measure(model: &mut Model) -> Result<(), SlmError> {
    let mut prompt = Vec::new();
    model.engine.tokenizer().encode("The kernel is", Special::None, &mut prompt);
    let mut last = None;
    let mut watch = |piece: Piece<'_>| {
        if piece.origin == Origin::Model {
            let now = computed_nanos();
            // The first one's time is the prompt's, too.
            if let Some(before) = last.replace(now) {
                worst_case::saw(now.saturating_sub(before));
            }
        }
        Flow::Continue
    };
    let options = GenerateOptions { max_tokens: MEASURED_TOKENS, ..GenerateOptions::default() };
    model.engine.generate_with(&prompt, options, &mut watch).map_err(engine_error)?;
    Ok(())
}

fn engine_error(error: EngineError) -> SlmError {
    match error {
        EngineError::PromptTooLong { tokens, context } => SlmError::TooLong { tokens, room: context },
        other => SlmError::Failed(other.to_string()),
    }
}
