//! How much memory the windows of all endpoints may take together, and how many requests may be under way.
//!
//! Whoever asks gets a share of what is left, never all of it: what stands still cannot starve what moves.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Of everything that waits in windows.
const WINDOW_BYTES: usize = 20 << 20;
/// Granted in any case: one row must fit, or an endpoint would stand still.
const LEAST_PAGE_BYTES: usize = 4 << 10;
/// A page, of the tail or of one endpoint, takes at most this part of what is left.
const SHARE: usize = 8;

#[derive(Default)]
pub struct Budget {
    window_bytes: AtomicUsize,
    in_flight: AtomicUsize,
    unrecorded: AtomicUsize,
    apart: AtomicUsize,
    most_in_flight: usize,
}

/// Outcomes that wait to be recorded, of all endpoints: beyond it nothing new is begun. A few batches' worth.
const MOST_UNRECORDED: usize = 10_000;
/// The same for outcomes of endpoints with callbacks, for which nobody else waits.
const MOST_APART: usize = 1_000;

impl Budget {
    /// `open_files`: the process's limit; each request takes a socket, and the rest of the process some.
    pub fn new(open_files: usize) -> Budget {
        Budget { most_in_flight: open_files.saturating_sub(200).clamp(64, 16_384), ..Budget::default() }
    }

    /// How many bytes a page may have.
    pub fn page_bytes(&self) -> usize {
        let left = WINDOW_BYTES.saturating_sub(self.window_bytes.load(Ordering::Relaxed));
        (left / SHARE).max(LEAST_PAGE_BYTES)
    }

    /// Little is left: whoever reads for all endpoints does better to wait a moment, while windows shrink.
    pub fn is_tight(&self) -> bool {
        self.window_bytes.load(Ordering::Relaxed) > WINDOW_BYTES / 4 * 3
    }

    /// An endpoint's window changed its size.
    pub fn window_changed(&self, before: usize, after: usize) {
        if after >= before {
            self.window_bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.window_bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// How many requests an endpoint may have under way, of the `wanted` it is configured for. All may have one
    /// until the process's limit is reached.
    pub fn concurrency(&self, wanted: usize) -> usize {
        let left = self.most_in_flight.saturating_sub(self.in_flight.load(Ordering::Relaxed));
        let stalled = self.unrecorded.load(Ordering::Relaxed) >= MOST_UNRECORDED;
        if left == 0 || stalled { 0 } else { wanted.min((left / SHARE).max(1)) }
    }

    pub fn begun(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub fn ended(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// An outcome waits to be recorded.
    pub fn came(&self) {
        self.unrecorded.fetch_add(1, Ordering::Relaxed);
    }

    pub fn recorded(&self, outcomes: usize) {
        self.unrecorded.fetch_sub(outcomes, Ordering::Relaxed);
    }

    /// An outcome of an endpoint with callbacks waits to be recorded.
    pub fn came_apart(&self) {
        self.apart.fetch_add(1, Ordering::Relaxed);
    }

    pub fn recorded_apart(&self, outcomes: usize) {
        self.apart.fetch_sub(outcomes, Ordering::Relaxed);
    }

    /// Whether endpoints with callbacks may begin something new.
    pub fn may_call(&self) -> bool {
        self.apart.load(Ordering::Relaxed) < MOST_APART
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub fn unrecorded(&self) -> usize {
        self.unrecorded.load(Ordering::Relaxed)
    }

    pub fn window(&self) -> usize {
        self.window_bytes.load(Ordering::Relaxed)
    }
}

/// The limit of open files of this process, as the kernel tells it; 1024 where it does not.
pub fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_all_that_is_left() {
        let budget = Budget::new(1_224);
        assert_eq!(budget.page_bytes(), WINDOW_BYTES / SHARE);
        budget.window_changed(0, WINDOW_BYTES - (1 << 20));
        assert_eq!(budget.page_bytes(), (1 << 20) / SHARE);
        budget.window_changed(0, 2 << 20);
        assert_eq!(budget.page_bytes(), LEAST_PAGE_BYTES);
        budget.window_changed(WINDOW_BYTES + (1 << 20), 0);
        assert_eq!((budget.page_bytes(), budget.window()), (WINDOW_BYTES / SHARE, 0));
    }

    #[test]
    fn one_request_each_until_the_limit() {
        let budget = Budget::new(264);
        assert_eq!(budget.concurrency(1_000), 8);
        assert_eq!(budget.concurrency(3), 3);
        (0..63).for_each(|_| budget.begun());
        assert_eq!(budget.concurrency(16), 1);
        budget.begun();
        assert_eq!(budget.concurrency(16), 0);
        budget.ended();
        assert_eq!(budget.concurrency(16), 1);
        (0..MOST_UNRECORDED).for_each(|_| budget.came());
        assert_eq!(budget.concurrency(16), 0);
        budget.recorded(1);
        assert_eq!(budget.concurrency(16), 1);
        (0..MOST_APART).for_each(|_| budget.came_apart());
        assert!(!budget.may_call() && budget.concurrency(16) == 1, "others go on");
        budget.recorded_apart(1);
        assert!(budget.may_call());
    }
}
