//! Errands to the model's thread: what only the owner of the model can do, one at a time, done between two turns.

use super::desk;
use crate::sync::IrqMutex;
use crate::tasks::{self, WaitQueue};
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use shell::slm::SlmError;

/// What is to be done.
pub enum Errand {
    /// Load the model of this boot, or the one of a name.
    Load(Option<String>),
    /// Unload; requests under way fail.
    Unload,
    /// Measure the worst case of a token, if none was made yet.
    Measure,
    /// Continue a text greedily by so many tokens.
    Greedy(String, usize),
    /// A text as tokens.
    Encode(String),
    /// The bytes of tokens.
    Decode(Vec<u32>),
}

/// What came of it.
pub enum Done {
    /// Tokens: of [`Errand::Greedy`] and [`Errand::Encode`].
    Tokens(Vec<u32>),
    /// Bytes: of [`Errand::Decode`].
    Bytes(Vec<u8>),
    /// Nothing to tell.
    Nothing,
}

type Answer = Result<Done, SlmError>;

/// The meeting place.
pub struct Counter {
    /// Somebody has an errand under way.
    taken: AtomicBool,
    /// The task that has.
    owner: AtomicU32,
    errand: IrqMutex<Option<Errand>>,
    answer: IrqMutex<Option<Answer>>,
    answered: WaitQueue,
    /// Others wait for their turn.
    free: WaitQueue,
}

impl Counter {
    /// With nobody at it.
    pub const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            owner: AtomicU32::new(0),
            errand: IrqMutex::new(None),
            answer: IrqMutex::new(None),
            answered: WaitQueue::new(),
            free: WaitQueue::new(),
        }
    }

    /// Waits for its turn, has the errand done, and waits for that.
    pub fn ask(&self, errand: Errand) -> Answer {
        let me = tasks::current().id;
        if self.taken.load(Ordering::Acquire) && self.owner.load(Ordering::Relaxed) == me {
            // This thread was begun again while it waited for an answer.
            drop(self.wait_for_answer());
        } else {
            self.free.wait_until(|| !self.taken.swap(true, Ordering::AcqRel));
        }
        self.owner.store(me, Ordering::Relaxed);
        *self.errand.lock() = Some(errand);
        desk::call_model();
        let answer = self.wait_for_answer();
        self.owner.store(0, Ordering::Relaxed);
        self.taken.store(false, Ordering::Release);
        self.free.wake_one();
        answer
    }

    fn wait_for_answer(&self) -> Answer {
        let mut answer = None;
        self.answered.wait_until(|| {
            answer = self.answer.lock().take();
            answer.is_some()
        });
        answer.unwrap_or(Ok(Done::Nothing))
    }

    /// Whether an errand waits; for the model's thread.
    pub fn has_errand(&self) -> bool {
        self.errand.lock().is_some()
    }

    /// The errand that waits; for the model's thread.
    pub fn next(&self) -> Option<Errand> {
        self.errand.lock().take()
    }

    /// Says what came of it; for the model's thread.
    pub fn done(&self, answer: Answer) {
        *self.answer.lock() = Some(answer);
        self.answered.wake_all();
    }
}
