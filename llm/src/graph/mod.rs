//! Inference as a graph: operators joined by bounded channels through which chunks of tokens and text go.
//!
//! The standard graph is `tokenise → infer → detokenise → sink`; each operator knows nothing of the others, so one's own can stand between any
//! two. All memory is bounded: a [`Chunk`] has a fixed size, a channel so many chunks, and what an operator holds beside that is a chunk's
//! worth, but for the prompt. A full channel either holds up the operator before it or drops the newest chunk and counts that
//! ([`WhenFull`]); the one into the sink drops, so that a slow reader loses chunks, which it sees by their [sequence](Chunk::sequence),
//! and never holds up the model.
//!
//! One thread steps the operators in turn ([`Graph::run`]). *There is no deadlock*: let `k` be the last operator that is not done and has
//! something to take, or the first that is not done where none has. All channels behind it are empty, and hold at least one chunk, so it is
//! stepped; and an operator that is stepped goes on, or waits for something outside the graph. An operator that is done closes its
//! channel; when it was the reader, those before it are stopped too. So no operator ever waits for another in a circle.
//!
//! An operator of one's own, between text and reader:
//!
//! ```
//! use core::ops::ControlFlow;
//! use llm::graph::{Edge, Graph, GraphEnd, Input, Operator, Output, Runtime, Sink, Step};
//!
//! /// Makes the text loud.
//! struct UpperCase;
//! impl Operator for UpperCase {
//!     fn name(&self) -> &str { "upper-case" }
//!     fn step(&mut self, input: &mut Input<'_>, output: &mut Output) -> Result<Step, String> {
//!         let Some(mut chunk) = input.take() else {
//!             return Ok(if input.ended() { Step::Done } else { Step::Idle });
//!         };
//!         chunk.bytes_mut().make_ascii_uppercase();
//!         // A step may put out one chunk: this is the first.
//!         output.put(chunk).map_err(|error| error.to_string())?;
//!         Ok(Step::Progress)
//!     }
//! }
//!
//! /// A model that repeats its prompt; a token is a byte.
//! struct Echo(std::cell::Cell<u32>, std::cell::RefCell<Vec<u32>>);
//! impl Runtime for Echo {
//!     fn encode(&self, text: &str) -> Result<Vec<u32>, String> { Ok(text.bytes().map(u32::from).collect()) }
//!     fn start(&self, tokens: Vec<u32>) -> Result<u32, String> { *self.1.borrow_mut() = tokens; Ok(1) }
//!     fn next(&self, _: u32, tokens: &mut Vec<u32>) -> Result<bool, String> {
//!         tokens.append(&mut self.1.borrow_mut());
//!         Ok(true)
//!     }
//!     fn cancel(&self, _: u32) {}
//!     fn decode(&self, tokens: &[u32]) -> Result<Vec<u8>, String> { Ok(tokens.iter().map(|&t| t as u8).collect()) }
//! }
//!
//! let model = Echo(Default::default(), Default::default());
//! let mut read = String::new();
//! let mut graph = Graph::answering(&model, "a page is a frame", 4)?
//!     .then(Edge::waiting(4), UpperCase)?
//!     .then(Edge::dropping(4), Sink::new(|chunk| read.push_str(&String::from_utf8_lossy(chunk.bytes()))))?;
//! let end = graph.run(&|| 0, &mut |_| ControlFlow::Continue(()))?;
//! let made = graph.picture().operators[3].made;
//! drop(graph);
//! assert_eq!((end, made, read.as_str()), (GraphEnd::Complete, 1, "A PAGE IS A FRAME"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod channel;
mod chunk;
mod execution;
mod model;
mod operator;
mod picture;
mod sink;
#[cfg(test)]
mod tests;

pub use channel::{ChannelState, Edge, MAX_CAPACITY, WhenFull};
pub use chunk::{CHUNK_BYTES, CHUNK_TOKENS, Chunk};
pub use execution::{Graph, GraphEnd, GraphError, Round};
pub use model::{Runtime, STANDARD};
pub use operator::{Input, Operator, Output, SecondChunk, Step};
pub use picture::{OperatorState, Picture};
pub use sink::Sink;
