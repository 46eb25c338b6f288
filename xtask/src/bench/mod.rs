//! Measurements: the engine on the host beside llama.cpp, and the booted kernel.

pub mod kernel;
pub mod llama_cpp;
pub mod llm;
