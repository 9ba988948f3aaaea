//! Nanoseconds since a run began, by the monotonic clock or set by hand.

#![forbid(unsafe_code)]

use std::time::Instant;

/// Reads the monotonic clock until somebody sets the time; from then on only they move it.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    manual: Option<u64>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), manual: None }
    }

    #[inline]
    pub(crate) fn now(&self) -> u64 {
        // 64 bits of nanoseconds are 584 years.
        self.manual.unwrap_or_else(|| self.start.elapsed().as_nanos() as u64)
    }

    pub(crate) fn set(&mut self, nanoseconds: u64) {
        self.manual = Some(nanoseconds);
    }
}
