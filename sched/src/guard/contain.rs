//! Calls into code that is not trusted to return.

/// How a contained call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It returned.
    Returned,
    /// It panicked.
    Panicked,
    /// It was stopped from outside: it had gone on for too long.
    Stopped,
}

/// A way to call a policy such that it cannot take the caller down with it.
///
/// A library cannot do this by itself: stopping a loop takes a timer, and catching a panic takes unwinding, or a panic handler that
/// returns to a saved context. So whoever owns those brings them: tests use `std::panic::catch_unwind`, a kernel a saved context that its
/// panic handler and its timer interrupt go back to. After anything but [`Ending::Returned`] the guard never looks at that policy again,
/// not even to drop it: so it may be stopped at any instruction.
pub trait Contain: Send {
    /// Calls `act` once.
    fn run(&self, act: &mut dyn FnMut()) -> Ending;
}

/// Just calls: for policies that are trusted to return, and where nothing better is at hand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trusting;

impl Contain for Trusting {
    fn run(&self, act: &mut dyn FnMut()) -> Ending {
        act();
        Ending::Returned
    }
}
