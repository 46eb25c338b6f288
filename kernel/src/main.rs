#![no_std]
#![no_main]
//! skeleton
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }
