//! A virtqueue whose entries are single buffers of one size, cut from one block of memory.
//!
//! A buffer belongs to the driver or to the device. [`Queue::give`] hands one over, [`Queue::take`] gets back what the device is done with.
//! What the device says on the way is checked: a descriptor that it does not have ends the use of this queue.

use super::memory::{DmaMemory, KernelHal};
use super::transport::{Doorbell, PciTransport, VirtioError};
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};
use virtio_drivers::queue::VirtQueue;

/// Who writes into the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// We do, the device reads.
    Driver,
    /// The device does.
    Device,
}

/// A queue of at most `SIZE` buffers.
pub struct Queue<const SIZE: usize> {
    ring: VirtQueue<KernelHal, SIZE>,
    doorbell: Doorbell,
    writer: Writer,
    /// The buffers' memory; a port that does not exist has none.
    memory: Option<DmaMemory>,
    /// By descriptor: the buffer that the device has through it, and how many bytes of that.
    lent: [Option<(usize, usize)>; SIZE],
    broken: bool,
}

// SAFETY: the rings and buffers that it points to are its own.
unsafe impl<const SIZE: usize> Send for Queue<SIZE> {}

impl<const SIZE: usize> Queue<SIZE> {
    /// Sets queue `number` up; it has no buffers yet.
    pub fn new(transport: &mut PciTransport, number: u16, writer: Writer) -> Result<Self, VirtioError> {
        let ring = VirtQueue::new(transport, number, false, false)
            .map_err(|error| VirtioError::Queue(number, error))?;
        if !transport.interrupts(number) {
            return Err(VirtioError::Silent(number));
        }
        let doorbell = transport.doorbell(number).ok_or(VirtioError::Missing("doorbell"))?;
        Ok(Self { ring, doorbell, writer, memory: None, lent: [None; SIZE], broken: false })
    }

    /// Gets memory for its buffers, `size` bytes each, unless it has some. Those that the device is to write into are given to it,
    /// which it learns by [`Self::notify`].
    pub fn allocate(&mut self, size: usize) -> Result<(), VirtioError> {
        if self.memory.is_none() {
            self.memory = Some(DmaMemory::new(SIZE * size)?);
            if self.writer == Writer::Device {
                (0..SIZE).for_each(|buffer| self.give(buffer, size));
            }
        }
        Ok(())
    }

    /// Bytes in a buffer.
    pub fn buffer_size(&self) -> usize {
        self.memory.as_ref().map_or(0, |memory| memory.len() / SIZE)
    }

    /// The first `len` bytes of a buffer, or all if it has fewer. `None` without memory.
    fn slice(&self, buffer: usize, len: usize) -> Option<NonNull<[u8]>> {
        let memory = self.memory.as_ref().filter(|_| buffer < SIZE)?;
        let size = self.buffer_size();
        // SAFETY: inside the memory, which has `SIZE` buffers.
        let start = unsafe { memory.start().add(buffer * size) };
        Some(NonNull::slice_from_raw_parts(start, len.min(size)))
    }

    fn is_lent(&self, buffer: usize) -> bool {
        self.lent.iter().flatten().any(|&(lent, _)| lent == buffer)
    }

    /// What is in a buffer that the device does not have; nothing if it does.
    pub fn bytes(&mut self, buffer: usize) -> &mut [u8] {
        match self.slice(buffer, usize::MAX).filter(|_| !self.is_lent(buffer)) {
            // SAFETY: memory of this queue, which the device does not access now and nobody else ever.
            Some(mut bytes) => unsafe { bytes.as_mut() },
            None => &mut [],
        }
    }

    /// Hands the first `len` bytes of a buffer to the device, which learns of it by [`Self::notify`].
    pub fn give(&mut self, buffer: usize, len: usize) {
        let Some(mut bytes) = self.slice(buffer, len).filter(|bytes| !bytes.is_empty()) else { return };
        if self.broken || self.is_lent(buffer) {
            return;
        }
        // SAFETY: memory of this queue that the device does not have. Until `take` gets it back, `bytes` keeps all others from it.
        let added = unsafe {
            match self.writer {
                Writer::Driver => self.ring.add(&[bytes.as_ref()], &mut []),
                Writer::Device => self.ring.add(&[], &mut [bytes.as_mut()]),
            }
        };
        // There is a descriptor for each buffer, so this cannot fail.
        if let Some(lent) = added.ok().and_then(|token| self.lent.get_mut(usize::from(token))) {
            *lent = Some((buffer, bytes.len()));
        }
    }

    /// Tells the device that it was given buffers.
    pub fn notify(&self) {
        // What was given must be seen before it is asked whether the device wants to be told.
        fence(Ordering::SeqCst);
        if self.ring.should_notify() {
            self.doorbell.ring();
        }
    }

    /// Gets the next buffer back that the device is done with: which, and how many bytes the device has written.
    pub fn take(&mut self) -> Option<(usize, usize)> {
        if self.broken {
            return None;
        }
        let token = self.ring.peek_used()?;
        let lent = self.lent.get_mut(usize::from(token)).and_then(Option::take);
        let Some((buffer, len, mut bytes)) =
            lent.and_then(|(buffer, len)| Some((buffer, len, self.slice(buffer, len)?)))
        else {
            self.broken = true;
            return None;
        };
        // SAFETY: the buffer that was added under this token.
        let written = unsafe {
            match self.writer {
                Writer::Driver => self.ring.pop_used(token, &[bytes.as_ref()], &mut []),
                Writer::Device => self.ring.pop_used(token, &[], &mut [bytes.as_mut()]),
            }
        };
        match written {
            // No device writes more than it has room for.
            Ok(written) => Some((buffer, (written as usize).min(len))),
            Err(_) => {
                self.broken = true;
                None
            }
        }
    }

    /// Whether the device is done with a buffer that was not taken back.
    pub fn has_news(&self) -> bool {
        !self.broken && self.ring.can_pop()
    }

    /// Whether the device is to interrupt when it is done with a buffer. It is from now on: look for buffers once more then.
    pub fn set_interrupts(&mut self, on: bool) {
        self.ring.set_dev_notify(on);
        fence(Ordering::SeqCst);
    }

    /// Whether the device gave back what it did not have. It gets nothing any more.
    pub fn is_broken(&self) -> bool {
        self.broken
    }
}
