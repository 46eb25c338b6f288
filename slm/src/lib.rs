//! The model pipeline on the host, step by step; the program `auton` (`main.rs`) is its command line.
//!
//! Principles
//! 1. Files are read, dequantised and run by the `llm` crate, the code that runs in the kernel: what passes here
//!    loads there.
//! 2. Every fault ends the program with one sentence and an exit status other than 0; what was there before a step
//!    began is there after it failed.
//! 3. A figure is measured, or computed by a formula that is written beside it; never looked up.
//! 4. Same inputs, same seed: same bytes.
//!
//! ```
//! use slm::shape::Shape;
//! let tiny = Shape::from_toml(include_str!("../configs/tiny_10M.toml")).unwrap();
//! assert_eq!(tiny.parameters(), 9_967_104);
//! ```
//!
//! Honest limits: the llama family only.

#![forbid(unsafe_code)]

pub mod arch;
pub mod configuration;
pub mod corpus;
pub mod cost;
pub mod curve;
pub mod data;
pub mod dequantize;
pub mod eval;
pub mod export;
pub mod forward;
pub mod integrate;
pub mod quantize;
pub mod report;
pub mod run_folder;
pub mod shape;
pub mod table;
pub mod tensor;
pub mod tokenizer;
pub mod train;
pub mod trained;
pub mod validate;
pub mod whole_file;
pub mod workflow;
