//! How many requests one arbiter has begun at a time.
//!
//! Of all receivers together only young requests count: what takes long waits for the other side and costs a socket,
//! not this thread. So any number of receivers may hang (up to the budget's limit), and yet ten thousand endpoints
//! with something to send do not all have a connection open at once, when a few hundred keep the processor busy.
//!
//! Of one origin (scheme, host, port) those count as well that take long: it is one server, however many endpoints it
//! has, and many connections at once would only slow it down. But not those that hang: other endpoints of that host
//! are not to wait for them.
//!
//! Endpoints that answer and those that have not yet, or no longer, stand in separate lines: the silent ones can take
//! up all there is until they are known to hang, and those that answer are not to wait for that.
//!
//! Who waits is served in order.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use url::Url;

/// Young requests of one line of one arbiter.
const YOUNG: usize = 128;
/// Requests to one origin of one line of one arbiter, but for those that hang.
const ORIGIN: usize = 256;
/// From then on a request waits for the other side, …
const AGE: Duration = Duration::from_millis(50);
/// … unless this thread is behind with its work, which shows in timers that come so much later than asked for.
const LAG: Duration = Duration::from_millis(5);
/// From then on it waits for the other side in any case.
const OLD: Duration = Duration::from_millis(250);
/// From then on it hangs.
const HANGS: Duration = Duration::from_secs(1);

/// Which line an endpoint stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Its last request was answered, however.
    Answers,
    /// It was not, or there has been none.
    Silent,
}

#[derive(Clone)]
pub struct Gate {
    lines: [Arc<Semaphore>; 2],
    origins: Arc<Mutex<HashMap<String, Weak<Origin>>>>,
}

struct Origin {
    lines: [Arc<Semaphore>; 2],
}

/// The way to one origin through the gate.
#[derive(Clone)]
pub struct Way {
    young: [Arc<Semaphore>; 2],
    origin: Arc<Origin>,
}

/// The right to begin a request.
pub struct Pass {
    young: OwnedSemaphorePermit,
    origin: OwnedSemaphorePermit,
}

impl Gate {
    pub fn new() -> Gate {
        Gate { lines: lines(YOUNG), origins: Arc::default() }
    }

    pub fn way_to(&self, url: &Url) -> Way {
        let origin = url.origin().ascii_serialization();
        let mut origins = self.origins.lock().expect("no holder panics");
        let known = origins.get(&origin).and_then(Weak::upgrade);
        let origin = known.unwrap_or_else(|| {
            origins.retain(|_, known| known.strong_count() > 0);
            let known = Arc::new(Origin { lines: lines(ORIGIN) });
            origins.insert(origin, Arc::downgrade(&known));
            known
        });
        Way { young: self.lines.clone(), origin }
    }
}

fn lines(room: usize) -> [Arc<Semaphore>; 2] {
    [(); 2].map(|()| Arc::new(Semaphore::new(room)))
}

impl Way {
    pub fn try_pass(&self, line: Line) -> Option<Pass> {
        let (young, origin) = self.of(line);
        let origin = origin.try_acquire_owned().ok()?;
        let young = young.try_acquire_owned().ok()?;
        Some(Pass { young, origin })
    }

    /// Waits for its turn.
    pub async fn pass(self, line: Line) -> Pass {
        let (young, origin) = self.of(line);
        let origin = origin.acquire_owned().await.expect("it is never closed");
        let young = young.acquire_owned().await.expect("it is never closed");
        Pass { young, origin }
    }

    fn of(&self, line: Line) -> (Arc<Semaphore>, Arc<Semaphore>) {
        (self.young[line as usize].clone(), self.origin.lines[line as usize].clone())
    }
}

impl Pass {
    /// Runs a request. The next one begins when it is over or no longer young; to the same origin, when it hangs.
    /// Pinned: it is large, and would lie in each future that it is handed through.
    pub async fn run<T>(self, mut request: Pin<&mut impl Future<Output = T>>) -> T {
        let began = Instant::now();
        let mut last = began;
        loop {
            match timeout(AGE, &mut request).await {
                Ok(result) => return result,
                Err(_) if last.elapsed() > AGE + LAG && began.elapsed() < OLD => last = Instant::now(),
                Err(_) => break,
            }
        }
        drop(self.young);
        if let Ok(result) = timeout(HANGS.saturating_sub(began.elapsed()), &mut request).await {
            return result;
        }
        drop(self.origin);
        request.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_makes_room_for_others_and_what_hangs_for_its_own_origin() {
        for line in [Line::Answers, Line::Silent] {
            let gate = Gate::new();
            let (hung, other) = (gate.way_to(&url("https://a/1")), gate.way_to(&url("https://b/")));
            for round in 0..ORIGIN / YOUNG {
                for _ in 0..YOUNG {
                    let pass = hung.try_pass(line).expect("room");
                    tokio::spawn(async { pass.run(pin!(std::future::pending::<()>())).await });
                }
                assert!(other.try_pass(line).is_none(), "{round}");
                tokio::time::sleep(AGE * 2).await;
                assert!(other.try_pass(line).is_some(), "{round}");
            }
            assert!(gate.way_to(&url("https://a:443/2")).try_pass(line).is_none());
            assert!(gate.way_to(&url("http://a/")).try_pass(line).is_some());
            tokio::time::sleep(HANGS).await;
            assert!(gate.way_to(&url("https://a/2")).try_pass(line).is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_does_not_wait_for_the_silent() {
        let gate = Gate::new();
        let way = gate.way_to(&url("https://a/"));
        let silent: Vec<_> = (0..YOUNG).map(|_| way.try_pass(Line::Silent).expect("room")).collect();
        assert!(way.try_pass(Line::Silent).is_none());
        assert!(way.try_pass(Line::Answers).is_some());
        drop(silent);
        assert!(way.try_pass(Line::Silent).is_some());
    }

    #[tokio::test]
    async fn what_ends_makes_room() {
        let gate = Gate::new();
        let way = gate.way_to(&url("https://a/"));
        for line in [Line::Answers, Line::Silent] {
            assert_eq!(way.try_pass(line).unwrap().run(pin!(async { 7 })).await, 7);
            drop(way.clone().pass(line).await);
            let (young, origin) = way.of(line);
            assert_eq!((young.available_permits(), origin.available_permits()), (YOUNG, ORIGIN));
        }
    }
}
