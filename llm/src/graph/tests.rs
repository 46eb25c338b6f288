use super::*;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::ops::ControlFlow;
use proptest::prelude::*;

/// A model whose tokens are bytes: it answers a fixed text, so many tokens at a time, and sometimes lets one wait.
#[derive(Default)]
struct Scripted {
    answer: Vec<u8>,
    /// Tokens of each call of `next`, over and over; 0: nothing new.
    portions: Vec<usize>,
    calls: Cell<usize>,
    sent: Cell<usize>,
    prompt: RefCell<Vec<u32>>,
    cancelled: Cell<bool>,
    broken: bool,
}

impl Scripted {
    fn new(answer: &[u8], portions: &[usize]) -> Self {
        Self { answer: answer.to_vec(), portions: portions.to_vec(), ..Self::default() }
    }
}

impl Runtime for Scripted {
    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        Ok(text.bytes().map(u32::from).collect())
    }
    fn start(&self, tokens: Vec<u32>) -> Result<u32, String> {
        *self.prompt.borrow_mut() = tokens;
        Ok(7)
    }
    fn next(&self, request: u32, tokens: &mut Vec<u32>) -> Result<bool, String> {
        assert_eq!(request, 7);
        let portion = self.portions[self.calls.get() % self.portions.len()];
        self.calls.set(self.calls.get() + 1);
        let from = self.sent.get();
        let to = (from + portion).min(self.answer.len());
        tokens.extend(self.answer[from..to].iter().map(|&byte| u32::from(byte)));
        self.sent.set(to);
        Ok(to == self.answer.len())
    }
    fn cancel(&self, request: u32) {
        assert_eq!(request, 7);
        self.cancelled.set(true);
    }
    fn decode(&self, tokens: &[u32]) -> Result<Vec<u8>, String> {
        match self.broken {
            true => Err("no model is loaded".to_string()),
            false => Ok(tokens.iter().map(|&token| token as u8).collect()),
        }
    }
}

/// Passes chunks on, and is done after so many.
struct First(usize);

impl Operator for First {
    fn name(&self) -> &str {
        "first"
    }
    fn step(&mut self, input: &mut Input<'_>, output: &mut Output) -> Result<Step, String> {
        let Some(chunk) = input.take() else {
            return Ok(if input.ended() { Step::Done } else { Step::Idle });
        };
        output.put(chunk).map_err(|error| error.to_string())?;
        self.0 -= 1;
        Ok(if self.0 == 0 { Step::Done } else { Step::Progress })
    }
}

fn go(_: Round) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

proptest! {
    #[test]
    fn nothing_is_lost_or_reordered_but_what_is_counted(
        prompt in "\\PC{1,300}", answer in "\\PC{0,600}", portions in prop::collection::vec(0usize..90, 1..6),
        capacity in 0usize..6, sink_capacity in 0usize..6, delay in 0u64..12, inserted: bool,
    ) {
        prop_assume!(portions.iter().any(|&tokens| tokens > 0));
        let model = Scripted::new(answer.as_bytes(), &portions);
        let (time, mut read) = (Cell::new(0u64), Vec::new());
        let mut graph = Graph::answering(&model, &prompt, capacity).unwrap();
        if inserted {
            graph = graph.then(Edge::waiting(capacity), First(usize::MAX)).unwrap();
        }
        let mut graph = graph.then(Edge::dropping(sink_capacity), Sink::slow(|chunk| read.push(*chunk), delay)).unwrap();
        let mut dropped = 0;
        // Time passes with every look at the clock, and in the rounds in which nobody does anything.
        let end = graph.run(&|| time.replace(time.get() + 1), &mut |round| {
            dropped += round.dropped;
            ControlFlow::Continue(())
        });
        prop_assert_eq!(end, Ok(GraphEnd::Complete));
        let picture = graph.picture();
        drop(graph);

        prop_assert_eq!(model.prompt.borrow().iter().map(|&t| t as u8).collect::<Vec<u8>>(), prompt.as_bytes());
        prop_assert!(!model.cancelled.get());
        prop_assert!(read.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
        prop_assert_eq!(picture.dropped(), dropped);
        for ((channel, from), to) in picture.channels.iter().zip(&picture.operators).zip(&picture.operators[1..]) {
            prop_assert!(channel.high_water <= channel.edge.capacity && channel.waiting == 0);
            prop_assert_eq!(channel.passed + channel.dropped, from.made);
            prop_assert_eq!(channel.passed, to.taken);
            prop_assert!(channel.dropped == 0 || channel.edge.when_full == WhenFull::Drop);
        }
        let text: Vec<u8> = read.iter().flat_map(|chunk| chunk.bytes().to_vec()).collect();
        let tokens: Vec<u32> = read.iter().flat_map(|chunk| chunk.tokens().to_vec()).collect();
        if dropped == 0 {
            prop_assert_eq!(String::from_utf8(text).unwrap(), answer.clone());
            prop_assert_eq!(tokens, answer.bytes().map(u32::from).collect::<Vec<u32>>());
        } else {
            // What arrives is whole characters, wherever the tokens were divided.
            prop_assert!(read.iter().all(|chunk| core::str::from_utf8(chunk.bytes()).is_ok()));
            prop_assert!(text.len() < answer.len() || tokens.len() < answer.len());
        }
    }
}

#[test]
fn a_slow_reader_loses_chunks_and_a_waiting_channel_none() {
    let read = |edge: Edge| {
        let model = Scripted::new(&[b'x'; 50], &[1]);
        let (time, mut sequences) = (Cell::new(0u64), Vec::new());
        let sink = Sink::slow(|chunk: &Chunk| sequences.push(chunk.sequence), 100);
        let mut graph = Graph::answering(&model, "p", 4).unwrap().then(edge, sink).unwrap();
        graph.run(&|| time.replace(time.get() + 1), &mut go).unwrap();
        let picture = graph.picture();
        drop(graph);
        (
            sequences.len() as u64,
            picture.dropped(),
            picture.channels[2].high_water,
            picture.operators[2].held_up,
        )
    };
    let (got, dropped, high_water, held_up) = read(Edge::dropping(4));
    assert!(got < 50 && got + dropped == 50 && high_water == 4 && held_up == 0, "{got} {dropped}");
    let (got, dropped, high_water, held_up) = read(Edge::waiting(4));
    assert!(got == 50 && dropped == 0 && high_water == 4 && held_up > 0);
}

#[test]
fn when_the_reader_ends_or_the_user_stops_the_model_is_told() {
    let model = Scripted::new(&[b'x'; 500], &[1]);
    let mut read = 0;
    let sink = Sink::new(|_: &Chunk| read += 1);
    let edge = Edge::waiting(2);
    let mut graph =
        Graph::answering(&model, "p", 2).unwrap().then(edge, First(3)).unwrap().then(edge, sink).unwrap();
    assert_eq!(graph.run(&|| 0, &mut go), Ok(GraphEnd::Complete));
    drop(graph);
    assert!(read == 3 && model.cancelled.get() && model.sent.get() < 20);

    let model = Scripted::new(&[b'x'; 500], &[1]);
    let mut graph = Graph::answering(&model, "p", 2).unwrap().then(edge, Sink::new(|_: &Chunk| {})).unwrap();
    let mut rounds = 0;
    let stop = &mut |_| {
        rounds += 1;
        if rounds == 30 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert_eq!(graph.run(&|| 0, stop), Ok(GraphEnd::Stopped));
    assert!(model.cancelled.get());
}

#[test]
fn an_operator_that_fails_ends_the_graph_with_its_reason() {
    let model = Scripted { broken: true, ..Scripted::new(&[b'x'; 500], &[1]) };
    let mut graph =
        Graph::answering(&model, "p", 2).unwrap().then(Edge::dropping(2), Sink::new(|_: &Chunk| {})).unwrap();
    let error = graph.run(&|| 0, &mut go).unwrap_err();
    assert_eq!(error.to_string(), "the graph ended at detokenise: no model is loaded");
    assert!(model.cancelled.get());
}

#[test]
fn bytes_that_are_no_character_arrive_too() {
    let model = Scripted::new(b"a\xff\xf0\x9f\x98\x80b\xe2\x82", &[1]);
    let mut text = Vec::new();
    let sink = Sink::new(|chunk: &Chunk| text.extend(chunk.bytes().to_vec()));
    let mut graph = Graph::answering(&model, "p", 1).unwrap().then(Edge::waiting(1), sink).unwrap();
    graph.run(&|| 0, &mut go).unwrap();
    drop(graph);
    assert_eq!(text, b"a\xff\xf0\x9f\x98\x80b\xe2\x82");
}

#[test]
fn a_second_chunk_of_a_step_is_not_taken() {
    let mut output = Output::default();
    assert_eq!(output.put(Chunk::new(0)), Ok(()));
    assert_eq!(output.put(Chunk::new(1)), Err(SecondChunk));
    assert_eq!(output.into_chunk(), Some(Chunk::new(0)));
}
