//! Waiting until something is so.

use std::future::Future;
use std::time::{Duration, Instant};

/// Longest wait for anything: far more than it takes on a loaded machine, so that reaching it means "never".
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Asks again and again until `ask` gives a value. Panics with `what` after [`DEADLINE`].
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = ask().await {
            return value;
        }
        assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until nothing is left. Panics with `what` when it has not become less for [`DEADLINE`].
pub async fn until_nothing_is_left(what: &str, left: impl AsyncFn() -> i64) {
    let mut least = left().await;
    while least > 0 {
        let less = async || Some(left().await).filter(|now| *now < least);
        least = until(&format!("{what}: {least} left"), less).await;
    }
}
