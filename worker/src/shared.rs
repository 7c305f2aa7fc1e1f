//! What every actor may look at: clocks, budgets, counters, and what the database said of itself.

use crate::budget::Budget;
use crate::clock::DatabaseClock;
use crate::database::Target;
use crate::exit::{Code, Refusal};
use crate::lease::{Epoch, Lease};
use crate::metrics::Metrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

/// What is under way on other connections when the owner has a new session may finish for so long: if the owner's
/// hung, so may theirs.
const EPOCH_GRACE: Duration = Duration::from_secs(3);

pub struct Shared {
    pub target: Target,
    pub lease: Lease,
    pub clock: Arc<DatabaseClock>,
    pub budget: Budget,
    pub metrics: Metrics,
    base: Instant,
    /// Of the owner's session; other connections are renewed when it changes, for the server may be another one.
    epoch: watch::Sender<Epoch>,
    response_cap_bytes: AtomicUsize,
    /// As bits of an f64.
    signature_freshness_s: AtomicU64,
    ending: AtomicBool,
}

impl Shared {
    pub fn new(target: Target, open_files: usize) -> Shared {
        let base = Instant::now();
        Shared {
            target,
            lease: Lease::new(base),
            clock: Arc::new(DatabaseClock::new(base, SystemTime::now())),
            budget: Budget::new(open_files),
            metrics: Metrics::new(),
            base,
            epoch: watch::Sender::new(0),
            response_cap_bytes: AtomicUsize::new(16 << 10),
            signature_freshness_s: AtomicU64::new(10f64.to_bits()),
            ending: AtomicBool::new(false),
        }
    }

    /// Milliseconds on the monotonic clock.
    pub fn now_ms(&self, now: Instant) -> u64 {
        now.duration_since(self.base).as_millis() as u64
    }

    pub fn epoch(&self) -> Epoch {
        *self.epoch.borrow()
    }

    /// Comes a while after the epoch is another than this one.
    pub fn epoch_over(&self, epoch: Epoch) -> impl Future<Output = ()> + use<> {
        let mut present = self.epoch.subscribe();
        async move {
            let _ = present.wait_for(|present| *present != epoch).await;
            tokio::time::sleep(EPOCH_GRACE).await;
        }
    }

    pub fn set_epoch(&self, epoch: Epoch) {
        self.epoch.send_replace(epoch);
    }

    pub fn response_cap_bytes(&self) -> usize {
        self.response_cap_bytes.load(Ordering::Relaxed)
    }

    pub fn signature_freshness_s(&self) -> f64 {
        f64::from_bits(self.signature_freshness_s.load(Ordering::Relaxed))
    }

    pub fn set_rules(&self, response_cap_bytes: usize, signature_freshness_s: f64) {
        self.response_cap_bytes.store(response_cap_bytes, Ordering::Relaxed);
        self.signature_freshness_s.store(signature_freshness_s.to_bits(), Ordering::Relaxed);
    }

    /// Told to stop: connections that end now are no trouble.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    pub fn set_ending(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }
}

/// Ends the process, from whichever actor, with a reason.
pub fn refuse(refusal: &Refusal) {
    tracing::error!("{refusal}");
    end(refusal.code);
}

pub fn end(code: Code) {
    match actix::System::try_current() {
        Some(system) => system.stop_with_code(code as i32),
        None => std::process::exit(code as i32),
    }
}
