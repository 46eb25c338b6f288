//! From a corpus to tokens: `auton data build`, what it shares with the tokenizer's training, and `auton data analyze`.

mod analyze;
mod build;
mod clean;
mod duplicates;
mod gather;
pub mod lines;
pub mod order;
mod split;

pub use analyze::{AnalyzeArgs, analyze};
pub use build::{BuildArgs, Coder, build};
pub use gather::{Gathered, gather};
pub use split::of as split_of;
