#![no_std]
//! control (skeleton: its owner writes this).
extern crate alloc;
