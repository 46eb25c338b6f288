#![no_std]
//! llm (skeleton: its owner writes this).
extern crate alloc;
