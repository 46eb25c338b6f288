#![no_std]
//! mm (skeleton: its owner writes this).
extern crate alloc;
