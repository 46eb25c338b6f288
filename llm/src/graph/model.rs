//! The operators of the standard graph: from a text to what a model goes on with.

use super::channel::Edge;
use super::chunk::{Chunk, whole_characters};
use super::execution::Graph;
use super::operator::{Input, Operator, Output, Step};
use crate::service::{MAX_PROMPT, RequestId};
use alloc::collections::TryReserveError;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Names of the standard graph's operators.
pub const STANDARD: [&str; 4] = ["tokenise", "infer", "detokenise", "sink"];

/// The model behind the operators. Errors are clauses. Only texts may wait, for the step that the model is at; [`next`](Self::next) does not.
pub trait Runtime {
    /// A text's tokens.
    ///
    /// # Errors
    /// No model is loaded.
    fn encode(&self, text: &str) -> Result<Vec<u32>, String>;
    /// Asks the model to continue tokens.
    ///
    /// # Errors
    /// The request is refused.
    fn start(&self, tokens: Vec<u32>) -> Result<RequestId, String>;
    /// Adds the tokens that were made since the last call, a chunk of the service at most. Says whether the request is over, and its tokens
    /// all fetched.
    ///
    /// # Errors
    /// The request failed.
    fn next(&self, request: RequestId, tokens: &mut Vec<u32>) -> Result<bool, String>;
    /// Nobody wants more of a request.
    fn cancel(&self, request: RequestId);
    /// The text of tokens.
    ///
    /// # Errors
    /// No model is loaded.
    fn decode(&self, tokens: &[u32]) -> Result<Vec<u8>, String>;
}

impl<'a> Graph<'a> {
    /// A text through the model: `tokenise → infer → detokenise`. What comes out of it are chunks of the answer's text, with their tokens;
    /// whoever wants them is added behind, after operators of one's own if need be.
    ///
    /// # Errors
    /// There is no memory for the channels.
    pub fn answering(
        runtime: &'a dyn Runtime,
        prompt: &'a str,
        capacity: usize,
    ) -> Result<Self, TryReserveError> {
        let edge = Edge::waiting(capacity);
        Graph::new(Tokenise { runtime, prompt, tokens: None, sequence: 0 })
            .then(
                edge,
                Infer {
                    runtime,
                    prompt: Vec::new(),
                    request: None,
                    tokens: Vec::new(),
                    over: false,
                    sequence: 0,
                },
            )?
            .then(edge, Detokenise { runtime, text: Vec::new(), sequence: 0 })
    }
}

/// A whole prompt in chunks of tokens. It is encoded at once, since a tokenizer's words may span any border.
struct Tokenise<'a> {
    runtime: &'a dyn Runtime,
    prompt: &'a str,
    tokens: Option<Vec<u32>>,
    sequence: u32,
}

impl Operator for Tokenise<'_> {
    fn name(&self) -> &str {
        STANDARD[0]
    }

    fn step(&mut self, _: &mut Input<'_>, output: &mut Output) -> Result<Step, String> {
        let tokens = match &mut self.tokens {
            Some(tokens) => tokens,
            None => self.tokens.insert(self.runtime.encode(self.prompt)?),
        };
        Ok(if put_tokens(tokens, &mut self.sequence, output)? { Step::Progress } else { Step::Done })
    }
}

/// Puts out the first of `tokens`; whether there were any.
fn put_tokens(tokens: &mut Vec<u32>, sequence: &mut u32, output: &mut Output) -> Result<bool, String> {
    if tokens.is_empty() {
        return Ok(false);
    }
    let mut chunk = Chunk::new(*sequence);
    let count = chunk.add_tokens(tokens);
    output.put(chunk).map_err(|error| error.to_string())?;
    tokens.drain(..count);
    *sequence = sequence.wrapping_add(1);
    Ok(true)
}

/// Collects the prompt, hands it to the model, and passes on what the model makes.
struct Infer<'a> {
    runtime: &'a dyn Runtime,
    prompt: Vec<u32>,
    request: Option<RequestId>,
    /// What did not fit in a chunk: less than a chunk of the service.
    tokens: Vec<u32>,
    over: bool,
    sequence: u32,
}

impl Operator for Infer<'_> {
    fn name(&self) -> &str {
        STANDARD[1]
    }

    fn step(&mut self, input: &mut Input<'_>, output: &mut Output) -> Result<Step, String> {
        let Some(request) = self.request else {
            if let Some(chunk) = input.take() {
                if self.prompt.len() + chunk.tokens().len() > MAX_PROMPT {
                    return Err(format!("the prompt has more than {MAX_PROMPT} tokens"));
                }
                self.prompt.extend(chunk.tokens());
                return Ok(Step::Progress);
            }
            if !input.ended() {
                return Ok(Step::Idle);
            }
            self.request = Some(self.runtime.start(core::mem::take(&mut self.prompt))?);
            return Ok(Step::Progress);
        };
        if self.tokens.is_empty() && !self.over {
            self.over = self.runtime.next(request, &mut self.tokens)?;
        }
        let put = put_tokens(&mut self.tokens, &mut self.sequence, output)?;
        Ok(match (put, self.over) {
            (true, _) => Step::Progress,
            (false, true) => Step::Done,
            (false, false) => Step::Idle,
        })
    }

    fn stop(&mut self) {
        if let Some(request) = self.request.filter(|_| !self.over) {
            self.runtime.cancel(request);
        }
    }
}

/// Tokens to text, in whole characters: a character may be several tokens, and these may come in two chunks.
struct Detokenise<'a> {
    runtime: &'a dyn Runtime,
    /// What was not put out yet: a chunk of tokens' text, and the beginning of a character before it.
    text: Vec<u8>,
    sequence: u32,
}

impl Operator for Detokenise<'_> {
    fn name(&self) -> &str {
        STANDARD[2]
    }

    fn step(&mut self, input: &mut Input<'_>, output: &mut Output) -> Result<Step, String> {
        let mut chunk = Chunk::new(self.sequence);
        let mut whole = whole_characters(&self.text);
        if whole == 0 {
            if let Some(tokens) = input.take() {
                self.text.extend(self.runtime.decode(tokens.tokens())?);
                chunk.add_tokens(tokens.tokens());
                whole = whole_characters(&self.text);
            } else if !input.ended() {
                return Ok(Step::Idle);
            } else if self.text.is_empty() {
                return Ok(Step::Done);
            } else {
                // The model ended within a character: nothing completes it any more.
                whole = self.text.len();
            }
        }
        let taken = chunk.add_bytes(self.text.get(..whole).unwrap_or_default());
        output.put(chunk).map_err(|error| error.to_string())?;
        self.text.drain(..taken);
        self.sequence = self.sequence.wrapping_add(1);
        Ok(Step::Progress)
    }
}
