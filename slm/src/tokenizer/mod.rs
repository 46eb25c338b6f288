//! `auton tokenizer train`: a vocabulary from the training split.

mod train;

pub use train::{Kind, TrainArgs, train};

/// Ends each document.
pub const END_OF_TEXT: u16 = 0;
/// The tokens that are no text, by number.
pub const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
