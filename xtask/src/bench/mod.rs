//! Measurements: the engine and the allocators on the host beside their peers, and the booted kernel.

pub mod kernel;
pub mod llama_cpp;
pub mod llm;
pub mod mm;
