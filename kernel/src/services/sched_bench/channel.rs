//! What one thread hands to others: messages that carry the time at which they were sent.

use crate::arch::time::uptime_nanos;
use crate::sync::IrqMutex;
use crate::tasks::WaitQueue;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

/// A queue of messages, of bounded length. Whoever comes first gets the oldest.
pub struct Channel {
    /// When each was sent; its memory is reserved.
    sent: IrqMutex<VecDeque<u64>>,
    capacity: usize,
    closed: AtomicBool,
    receivers: WaitQueue,
    senders: WaitQueue,
}

impl Channel {
    /// An empty one for so many messages.
    pub fn new(capacity: usize) -> Result<Arc<Self>, String> {
        let mut sent = VecDeque::new();
        sent.try_reserve_exact(capacity).map_err(|_| String::from("there is no memory for a channel"))?;
        Ok(Arc::new(Self {
            sent: IrqMutex::new(sent),
            capacity,
            closed: AtomicBool::new(false),
            receivers: WaitQueue::new(),
            senders: WaitQueue::new(),
        }))
    }

    /// Sends a message, waiting while the channel is full. `false`: it is closed.
    pub fn send(&self) -> bool {
        let mut sent = false;
        self.senders.wait_until(|| {
            let mut queue = self.sent.lock();
            sent = queue.len() < self.capacity && !self.is_closed();
            if sent {
                queue.push_back(uptime_nanos());
            }
            sent || self.is_closed()
        });
        if sent {
            self.receivers.wake_one();
        }
        sent
    }

    /// Waits for a message: when it was sent. `None`: the channel is closed.
    pub fn receive(&self) -> Option<u64> {
        let mut message = None;
        self.receivers.wait_until(|| {
            message = self.sent.lock().pop_front();
            message.is_some() || self.is_closed()
        });
        if message.is_some() {
            self.senders.wake_one();
        }
        message
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Lets all go who wait; messages that were sent are still received.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.receivers.wake_all();
        self.senders.wake_all();
    }
}
