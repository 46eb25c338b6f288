//! Between those who ask the model and the thread that owns it: one request at a time, events back.

use crate::arch::time;
use crate::sync::IrqMutex;
use crate::tasks::{self, WaitQueue};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use shell::slm::{SlmError, SlmOrigin, SlmRequest, SlmSummary};

/// How often an asker who waits is given a chance to change his mind.
const WAITING_NANOS: u64 = 100_000_000;

/// What the model's thread can do.
pub enum Request {
    /// Answer a question.
    Query(SlmRequest),
    /// Continue a text greedily by so many tokens.
    Greedy(String, usize),
    /// Load.
    Load,
    /// Unload.
    Unload,
}

/// What it says.
pub enum Event {
    /// The next bytes of an answer.
    Piece(Vec<u8>, SlmOrigin),
    /// The end.
    Done(Result<Outcome, SlmError>),
}

/// What came of a request.
pub enum Outcome {
    /// Of a query.
    Answered(SlmSummary),
    /// Of a greedy continuation.
    Tokens(Vec<u32>),
    /// Of loading and unloading.
    Nothing,
}

/// What the asker sees while waiting for the end.
pub enum Progress<'a> {
    /// Nothing new.
    Waiting,
    /// The next bytes.
    Piece(&'a [u8], SlmOrigin),
}

/// The meeting place.
pub struct Exchange {
    /// Somebody has a request under way.
    taken: AtomicBool,
    /// The task that has.
    owner: AtomicU32,
    request: IrqMutex<Option<Request>>,
    posted: WaitQueue,
    events: IrqMutex<VecDeque<Event>>,
    news: WaitQueue,
    /// The asker wants the answer to end.
    stop: AtomicBool,
}

impl Exchange {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            owner: AtomicU32::new(0),
            request: IrqMutex::new(None),
            posted: WaitQueue::new(),
            events: IrqMutex::new(VecDeque::new()),
            news: WaitQueue::new(),
            stop: AtomicBool::new(false),
        }
    }

    /// Hands over a request and waits for its end. `progress` says whether to go on; after it said no, it is not
    /// called again.
    pub fn ask(
        &self,
        request: Request,
        progress: &mut dyn FnMut(Progress<'_>) -> bool,
    ) -> Result<Outcome, SlmError> {
        let me = tasks::current().id;
        if self.taken.swap(true, Ordering::Acquire) {
            if self.owner.load(Ordering::Relaxed) != me {
                return Err(SlmError::Busy);
            }
            // This thread was begun again while it waited for an answer.
            self.forget_answer();
        }
        self.owner.store(me, Ordering::Relaxed);
        self.stop.store(false, Ordering::Relaxed);
        *self.request.lock() = Some(request);
        self.posted.wake_all();
        let mut go_on = true;
        let result = loop {
            let mut event = None;
            let deadline = time::uptime_nanos().saturating_add(WAITING_NANOS);
            self.news.wait_until_deadline(deadline, || {
                event = self.events.lock().pop_front();
                event.is_some()
            });
            let wants_more = match event {
                Some(Event::Done(result)) => break result,
                Some(Event::Piece(bytes, origin)) if go_on => progress(Progress::Piece(&bytes, origin)),
                None if go_on => progress(Progress::Waiting),
                _ => continue,
            };
            if !wants_more {
                go_on = false;
                self.stop.store(true, Ordering::Relaxed);
            }
        };
        self.taken.store(false, Ordering::Release);
        result
    }

    /// Has the answer under way end, and waits for that.
    fn forget_answer(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let mut done = false;
        while !done {
            self.news.wait_until(|| {
                let event = self.events.lock().pop_front();
                done = matches!(event, Some(Event::Done(_)));
                event.is_some()
            });
        }
    }

    /// The next request; for the model's thread.
    pub fn next(&self) -> Request {
        loop {
            let mut request = None;
            self.posted.wait_until(|| {
                request = self.request.lock().take();
                request.is_some()
            });
            if let Some(request) = request {
                return request;
            }
        }
    }

    /// Tells the asker; for the model's thread.
    pub fn tell(&self, event: Event) {
        self.events.lock().push_back(event);
        self.news.wake_all();
    }

    /// Whether the asker wants the answer to end.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
