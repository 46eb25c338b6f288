#![no_std]
//! ai_insights (skeleton: its owner writes this).
extern crate alloc;
