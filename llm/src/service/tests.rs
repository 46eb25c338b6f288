//! The desk under made-up clients and a model that says "w0 w1 w2 …", a token a turn.

use super::*;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

/// The model's thread: every request in flight with the tokens that it still wants.
#[derive(Default)]
struct Model {
    wants: BTreeMap<RequestId, (usize, u32)>,
    /// Rows of prompts that are left to be read, where it is not one.
    prompts: BTreeMap<RequestId, u32>,
    turn: Turn,
}

impl Model {
    /// One turn that ends at `now`; how many tokens it made.
    fn turn(&mut self, service: &mut Service, now: u64) -> u32 {
        while let Some((id, job)) = service.start_next(now) {
            self.wants.insert(id, (job.max_tokens, 0));
        }
        service.turn(now, &mut self.turn);
        for (id, end) in self.turn.end() {
            let (_, tokens) = self.wants.remove(&id).unwrap();
            service.complete(id, end, Counts { tokens, ..Counts::default() }, now);
        }
        let mut made = 0;
        let turn = self.turn;
        for &id in turn.run() {
            self.token(service, id, now);
            made += 1;
        }
        let mut rows = turn.rows();
        let mut first_tokens = turn.first_tokens();
        for &id in turn.reading() {
            // The last row makes a token.
            let left = self.prompts.get_mut(&id);
            let left = left.map_or(1, |left| *left);
            let now_read = left.min(rows).min(4).min(if first_tokens == 0 { left - 1 } else { left });
            rows -= now_read;
            if now_read == left {
                first_tokens -= 1;
                made += 1;
                self.token(service, id, now);
            }
            self.prompts.insert(id, left - now_read);
            service.read(id, now_read, now);
        }
        made
    }

    fn token(&mut self, service: &mut Service, id: RequestId, now: u64) {
        let (wanted, made) = self.wants.get_mut(&id).unwrap();
        service.deliver(id, format!("w{made} ").as_bytes(), 1, false, now);
        *made += 1;
        if *made as usize == *wanted {
            let counts = Counts { tokens: *made, ..Counts::default() };
            service.complete(id, End::MaxTokens, counts, now);
            self.wants.remove(&id);
        }
    }
}

fn job(client: ClientId, tokens: usize) -> Job {
    Job::new(client, Operation::Stream, "prompt".into(), tokens).unwrap()
}

/// All that is there of an answer, and its end.
fn drain(service: &mut Service, id: RequestId, client: ClientId) -> (String, Option<Outcome>) {
    let mut bytes = Vec::new();
    loop {
        match service.fetch(id, client, &mut bytes) {
            Ok(Fetched::Chunk(_)) => {}
            Ok(Fetched::End(outcome)) => return (String::from_utf8(bytes).unwrap(), Some(outcome)),
            _ => return (String::from_utf8(bytes).unwrap(), None),
        }
    }
}

fn words(count: usize) -> String {
    (0..count).map(|n| format!("w{n} ")).collect()
}

#[test]
fn several_answers_share_every_turn() {
    let (mut service, mut model) = (Service::new(Limits::default()).unwrap(), Model::default());
    let ids = [1, 2, 3].map(|client| service.submit(job(client, 5), 0).unwrap());
    assert_eq!((1..=5).map(|now| model.turn(&mut service, now)).collect::<Vec<_>>(), [3; 5]);
    for (id, client) in ids.into_iter().zip(1..) {
        assert!(service.fetch(id, client + 1, &mut Vec::new()).is_err(), "another's answer");
        let (text, outcome) = drain(&mut service, id, client);
        assert_eq!((text, outcome.map(|o| o.end)), (words(5), Some(End::MaxTokens)));
        assert_eq!(service.fetch(id, client, &mut Vec::new()), Err(UnknownRequest(id)));
    }
}

#[test]
fn a_full_queue_and_a_greedy_client_are_refused_and_audited() {
    let limits = Limits { queue: 4, of_client: 3, ..Limits::default() };
    let mut service = Service::new(limits).unwrap();
    (0..3).for_each(|_| {
        service.submit(job(1, 1), 0).unwrap();
    });
    assert_eq!(service.submit(job(1, 1), 0), Err(SubmitError::TooManyOfClient { open: 3 }));
    service.submit(job(2, 1), 0).unwrap();
    assert_eq!(service.submit(job(3, 1), 7), Err(SubmitError::Busy { queued: 4 }));
    let last = *service.audit().entries().last().unwrap();
    assert_eq!((last.client, last.op, last.status, last.ts_ns), (3, Operation::Stream, Status::REJECT, 7));
    assert_eq!((service.stats().rejected, service.stats().submitted), (2, 4));
}

#[test]
fn priorities_go_first_and_waiting_makes_up_for_it() {
    let limits = Limits { running: 1, ..Limits::default() };
    let mut service = Service::new(limits).unwrap();
    let low = service.submit(Job { priority: Priority::Low, ..job(1, 1) }, 0).unwrap();
    let high = service.submit(Job { priority: Priority::High, ..job(2, 1) }, 0).unwrap();
    assert_eq!(service.start_next(0).map(|(id, _)| id), Some(high));
    service.complete(high, End::Finished, Counts::default(), 1);
    let late = service.submit(Job { priority: Priority::High, ..job(2, 1) }, 25_000 * MS).unwrap();
    assert_eq!(service.start_next(25_000 * MS).map(|(id, _)| id), Some(low), "it has waited for 25 s");
    service.complete(low, End::Finished, Counts::default(), 25_001 * MS);
    assert_eq!(service.start_next(25_002 * MS).map(|(id, _)| id), Some(late));
}

#[test]
fn deadlines_cancellation_and_readers_who_leave() {
    let (mut service, mut model) = (Service::new(Limits::default()).unwrap(), Model::default());
    let late = service.submit(Job { deadline_ns: Some(3), ..job(1, 100) }, 0).unwrap();
    let cancelled = service.submit(job(1, 100), 0).unwrap();
    let gone = service.submit(job(2, 100), 0).unwrap();
    let paused = service.submit(job(3, 10_000), 0).unwrap();
    let queued = service.submit(Job { deadline_ns: Some(2), ..job(1, 1) }, 0).unwrap();
    (1..3).for_each(|now| {
        model.turn(&mut service, now);
    });
    assert!(service.cancel(cancelled, 9, false, 2).is_err(), "not this client's");
    service.cancel(cancelled, CONSOLE, true, 2).unwrap();
    service.leave(2, 2);
    assert_eq!(service.next_event(), Some(3));
    (3..5).for_each(|now| {
        model.turn(&mut service, now);
    });
    let end = |service: &mut Service, id, client| drain(service, id, client).1.map(|outcome| outcome.end);
    assert_eq!(end(&mut service, late, 1), Some(End::Deadline));
    assert_eq!(end(&mut service, cancelled, 1), Some(End::Cancelled));
    assert_eq!(end(&mut service, queued, 1), Some(End::Deadline));
    assert!(service.requests().all(|r| r.id != gone), "nobody is left to fetch it");

    // Nobody reads: it pauses, loses nothing, and in the end is given up.
    (5..2000).for_each(|now| {
        model.turn(&mut service, now);
    });
    let state = |service: &Service| service.requests().find(|r| r.id == paused).unwrap();
    let (tokens, pauses) = (state(&service).tokens, service.stats().pauses);
    assert_eq!((state(&service).state, pauses), (RequestState::Paused, 1));
    let (text, outcome) = drain(&mut service, paused, 3);
    assert_eq!((text, outcome), (words(tokens as usize), None));
    (2000..4000).for_each(|now| {
        model.turn(&mut service, now);
    });
    let patience = service.limits().patience_ns;
    model.turn(&mut service, 4000 + patience);
    assert_eq!(end(&mut service, paused, 3), Some(End::Abandoned));
    let status = |reason| service.audit().entries().find(|e| e.reason == reason).map(|e| e.status);
    assert_eq!(status("deadline"), Some(Status::DEADLINE_MISS));
    assert_eq!(status("not fetched"), Some(Status::REJECT));
    assert_eq!(status("cancelled"), Some(Status::OK));
}

#[test]
fn a_request_that_does_not_fit_waits_for_an_end() {
    let mut service = Service::new(Limits::default()).unwrap();
    let [first, second] = [1, 2].map(|client| service.submit(job(client, 1), 0).unwrap());
    assert_eq!(service.start_next(0).map(|(id, _)| id), Some(first));
    let (id, job) = service.start_next(0).unwrap();
    assert_eq!(id, second);
    service.put_back(id, job);
    assert!(service.start_next(1).is_none(), "nothing has ended");
    service.complete(first, End::Finished, Counts::default(), 2);
    let (id, _) = service.start_next(3).unwrap();
    service.deliver(id, b"x", 1, false, 4);
    service.complete(id, End::Finished, Counts::default(), 5);
    assert_eq!(drain(&mut service, second, 2).0, "x");
}

#[test]
fn under_a_budget_every_period_has_its_tokens_and_misses_are_seen() {
    let (mut service, mut model) = (Service::new(Limits::default()).unwrap(), Model::default());
    service.set_budget(Some(Budget { wcet_cycles: 1, period_ns: 100, tokens: 4 }), 0);
    let id = service.submit(job(1, 400), 0).unwrap();
    let mut made = BTreeMap::<u64, u32>::new();
    // A token takes 5: four of them fit easily.
    for now in (5..1000).step_by(5) {
        *made.entry(now / 100).or_default() += model.turn(&mut service, now);
    }
    assert!(made.values().all(|&tokens| tokens == 4), "{made:?}");
    assert_eq!(service.pace().map(|pace| pace.misses), Some(0));
    // The CPU is gone for two periods and a half.
    model.turn(&mut service, 1250);
    let pace = service.pace().unwrap();
    assert!(pace.misses >= 2, "{pace:?}");
    service.cancel(id, CONSOLE, true, 1260).unwrap();
    model.turn(&mut service, 1270);
    let outcome = drain(&mut service, id, 1).1.unwrap();
    assert_eq!(outcome.period_misses, pace.misses);
    let entry = service.audit().entries().find(|e| e.op == Operation::Stream).unwrap();
    assert_eq!((entry.status, entry.period_ns), (Status::OK.and(Status::DEADLINE_MISS), 100));
}

#[test]
fn prompts_of_others_do_not_cost_a_budgeted_stream_its_tokens() {
    let (mut service, mut model) = (Service::new(Limits::default()).unwrap(), Model::default());
    service.set_budget(Some(Budget { wcet_cycles: 1, period_ns: 100, tokens: 4 }), 0);
    let stream = service.submit(job(1, 400), 0).unwrap();
    (1..100).for_each(|now| {
        model.turn(&mut service, now);
    });
    for _ in 0..3 {
        let id = service.submit(Job { priority: Priority::Low, ..job(2, 1) }, 100).unwrap();
        model.prompts.insert(id, 500);
    }
    let tokens = |service: &Service| service.requests().find(|r| r.id == stream).map(|r| r.tokens).unwrap();
    let before = tokens(&service);
    (100..2100).for_each(|now| {
        model.turn(&mut service, now);
    });
    assert_eq!(tokens(&service) - before, 4 * 20);
    assert_eq!(service.pace().map(|pace| pace.misses), Some(0));
}

#[test]
fn a_prompt_beside_a_budgeted_stream_gets_its_share_of_the_units() {
    for spread in Spread::ALL {
        let (mut service, mut model) = (Service::new(Limits::default()).unwrap(), Model::default());
        service.set_spread(spread);
        service.set_budget(Some(Budget { wcet_cycles: 1, period_ns: 100, tokens: 4 }), 0);
        let stream = service.submit(job(1, 200), 0).unwrap();
        (1..100).for_each(|now| {
            model.turn(&mut service, now);
        });
        let other = service.submit(job(2, 9), 100).unwrap();
        model.prompts.insert(other, 15);
        let tokens =
            |service: &Service, id| service.requests().find(|r| r.id == id).map(|r| r.tokens).unwrap();
        let before = tokens(&service, stream);
        // Ten periods of four units: half of them are the prompt's 15 rows, the last of which is the first token, and the tokens behind it.
        (100..1100).for_each(|now| {
            model.turn(&mut service, now);
        });
        let made = tokens(&service, stream) - before;
        let others = tokens(&service, other);
        assert!((19..=21).contains(&made) && (5..=7).contains(&others), "{spread:?}: {made}, {others}");
        assert!((39..=41).contains(&(made + 14 + others)), "{spread:?}: {made}, {others}");
        assert_eq!(service.pace().map(|pace| pace.misses), Some(0));
    }
}

#[test]
fn a_reader_who_is_slow_is_no_broken_promise() {
    let (mut service, mut model) = (Service::new(Limits::default()).unwrap(), Model::default());
    service.set_budget(Some(Budget { wcet_cycles: 1, period_ns: 100, tokens: 4 }), 0);
    service.submit(job(1, 2000), 0).unwrap();
    // It pauses when its outbox is full, and nobody looks for a long time.
    (1..10_000).for_each(|now| {
        model.turn(&mut service, now);
    });
    assert!(service.requests().all(|r| r.state == RequestState::Paused));
    service.turn(500_000, &mut Turn::default());
    assert_eq!((service.pace().unwrap().misses, service.stats().period_misses), (0, 0));
}

#[test]
fn many_short_answers_have_no_more_tokens_than_the_budget() {
    let (mut service, mut model) = (Service::new(Limits::default()).unwrap(), Model::default());
    service.set_budget(Some(Budget { wcet_cycles: 1, period_ns: 100, tokens: 1 }), 0);
    let mut made = 0;
    for now in 1..1000 {
        // Both clients always have more to ask.
        for client in 1..3 {
            let _ = service.submit(job(client, 1), now);
        }
        made += model.turn(&mut service, now);
    }
    assert_eq!(made, 10);
}

#[test]
fn one_client_never_has_all_places() {
    let mut service = Service::new(Limits::default()).unwrap();
    (0..4).for_each(|_| {
        service.submit(job(1, 9), 0).unwrap();
    });
    let started = core::iter::from_fn(|| service.start_next(0)).count();
    assert_eq!(started, service.limits().running - 1);
    let other = service.submit(job(2, 9), 1).unwrap();
    assert_eq!(service.start_next(1).map(|(id, _)| id), Some(other));
}

#[derive(Debug, Clone)]
enum Step {
    Submit { client: ClientId, tokens: usize, deadline: Option<u64> },
    Fetch(usize),
    Cancel(usize),
    Leave(ClientId),
    Turn,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u32..4, 1usize..60, prop::option::of(1u64..200)).prop_map(|(client, tokens, deadline)| Step::Submit { client, tokens, deadline }),
        3 => any::<usize>().prop_map(Step::Fetch),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => (0u32..4).prop_map(Step::Leave),
        8 => Just(Step::Turn),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_whatever_clients_do(steps in prop::collection::vec(step(), 1..400), budget: bool) {
        let limits = Limits { queue: 5, of_client: 3, running: 3, done: 4, patience_ns: 50 };
        let (mut service, mut model) = (Service::new(limits).unwrap(), Model::default());
        if budget {
            service.set_budget(Some(Budget { wcet_cycles: 1, period_ns: 10, tokens: 3 }), 0);
        }
        let mut known: Vec<(RequestId, ClientId, String)> = Vec::new();
        let mut taken = 0;
        for (now, step) in (1u64..).zip(steps) {
            match step {
                Step::Submit { client, tokens, deadline } => {
                    if let Ok(id) = service.submit(Job { deadline_ns: deadline, ..job(client, tokens) }, now) {
                        known.push((id, client, String::new()));
                        taken += 1;
                    }
                }
                Step::Fetch(which) if !known.is_empty() => {
                    let at = which % known.len();
                    let (id, client, text) = &mut known[at];
                    let mut bytes = Vec::new();
                    let fetched = service.fetch(*id, *client, &mut bytes);
                    text.push_str(core::str::from_utf8(&bytes).unwrap());
                    // In order, from the beginning, without a gap.
                    prop_assert!(words(60).starts_with(text.as_str()), "{}", text);
                    match fetched {
                        Ok(Fetched::End(outcome)) => {
                            let made = text.split_whitespace().count();
                            prop_assert_eq!(made, outcome.counts.tokens as usize);
                            known.remove(at);
                        }
                        Err(_) => drop(known.remove(at)),
                        _ => {}
                    }
                }
                Step::Cancel(which) if !known.is_empty() => {
                    let (id, client, _) = known[which % known.len()];
                    let _ = service.cancel(id, client, false, now);
                }
                Step::Leave(client) => service.leave(client, now),
                Step::Turn => { model.turn(&mut service, now); },
                _ => {}
            }
            let count = |state: fn(RequestState) -> bool| service.requests().filter(|r| state(r.state)).count();
            let flying = |s| matches!(s, RequestState::Reading | RequestState::Running | RequestState::Paused);
            prop_assert!(count(|s| s == RequestState::Queued) <= limits.queue);
            prop_assert_eq!(count(flying), service.running());
            prop_assert!(service.running() <= limits.running);
            let mut of: BTreeMap<ClientId, u32> = BTreeMap::new();
            service.requests().filter(|r| !matches!(r.state, RequestState::Done(_))).for_each(|r| *of.entry(r.client).or_default() += 1);
            for client in service.clients() {
                prop_assert!(client.open <= limits.of_client);
                prop_assert_eq!(client.open, of.get(&client.client).copied().unwrap_or(0));
            }
            let stats = service.stats();
            let over = stats.completed + stats.cancelled + stats.failed + stats.deadlines_missed;
            prop_assert_eq!(over + of.values().map(|&n| u64::from(n)).sum::<u64>(), taken);
        }
    }

    #[test]
    fn busy_clients_get_equal_shares(clients in 2u32..5, running in 1usize..4) {
        let limits = Limits { running, queue: 40, ..Limits::default() };
        let (mut service, mut model) = (Service::new(limits).unwrap(), Model::default());
        let mut now = 0;
        while now < 4000 {
            // Client 1 asks for long answers and has as many requests as it may, the others one short one at a time.
            for client in 1..=clients {
                let (most, tokens) = if client == 1 { (8, 40) } else { (1, 10) };
                while service.clients().iter().find(|c| c.client == client).map_or(0, |c| c.open) < most {
                    service.submit(job(client, tokens), now).unwrap();
                }
            }
            now += 1;
            model.turn(&mut service, now);
            let done: Vec<_> = service.requests().map(|r| (r.id, r.client)).collect();
            done.into_iter().for_each(|(id, client)| drop(drain(&mut service, id, client)));
        }
        let tokens: Vec<u64> = service.clients().iter().map(|c| c.tokens).collect();
        let (least, most) = (tokens.iter().min().unwrap(), tokens.iter().max().unwrap());
        // One request at a time uses one place of those in flight: with more places than clients the others are the greedy one's.
        if running <= clients as usize {
            prop_assert!(most * 10 <= least * 13, "{:?}", tokens);
        }
    }
}
