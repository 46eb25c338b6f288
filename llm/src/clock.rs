//! The clock that the engine reads for its timings: the kernel gives its calibrated TSC, host programs
//! [`StdClock`].

/// A monotonic clock.
pub trait Clock: Sync {
    /// Nanoseconds since some fixed moment; never decreases.
    fn now_ns(&self) -> u64;
}

/// `std::time::Instant` as a [`Clock`].
#[cfg(feature = "std")]
pub struct StdClock(std::time::Instant);

#[cfg(feature = "std")]
impl StdClock {
    /// A clock that starts at zero now.
    pub fn new() -> Self {
        Self(std::time::Instant::now())
    }
}

#[cfg(feature = "std")]
impl Default for StdClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "std")]
impl Clock for StdClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
