#![no_std]
//! sched (skeleton: its owner writes this).
extern crate alloc;
