//! Measurements: the engine and the allocators on the host beside their peers, and the booted kernel.

pub mod bandwidth;
pub mod batch;
pub mod grammar;
pub mod kernel;
mod kernel_report;
pub mod llama_cpp;
pub mod llm;
mod llm_json;
pub mod llm_report;
pub mod mm;
pub mod models;
pub mod phase;
mod random_model;
pub mod table;
