#![no_std]
//! shell (skeleton: its owner writes this).
extern crate alloc;
