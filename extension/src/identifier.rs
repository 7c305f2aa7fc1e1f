//! Ids and times of events.

use pgrx::pg_sys;
use protocol::event_id::EventIdGenerator;
use std::cell::RefCell;

/// Microseconds from 1970-01-01 to 2000-01-01, PostgreSQL's epoch.
pub const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// When an event happened and what it is called from then on.
#[derive(Clone, Copy)]
pub struct Stamp {
    pub id: [u8; 16],
    /// microseconds since 1970
    pub unix_us: i64,
}

impl Stamp {
    pub fn timestamptz(self) -> pg_sys::TimestampTz {
        self.unix_us - POSTGRES_EPOCH_US
    }
}

/// Draws the next id of this session from the clock as it stands now: after the row is locked, so that changes of
/// one row carry ids in the order they happened.
pub fn next() -> Stamp {
    let unix_us = now_us();
    let id = GENERATOR.with_borrow_mut(|(ids, random)| ids.next(unix_us, random.next()));
    Stamp { id, unix_us }
}

/// Microseconds since 1970 by the database's clock.
pub fn now_us() -> i64 {
    (unsafe { pg_sys::GetCurrentTimestamp() }) + POSTGRES_EPOCH_US
}

/// Fills `buffer` from the operating system's source of randomness.
pub fn fill_random(buffer: &mut [u8]) {
    if !unsafe { pg_sys::pg_strong_random(buffer.as_mut_ptr().cast(), buffer.len()) } {
        pgrx::error!("could not generate random values");
    }
}

thread_local! {
    static GENERATOR: RefCell<(EventIdGenerator, RandomPool)> =
        const { RefCell::new((EventIdGenerator::new(), RandomPool { words: [0; POOL_WORDS], left: 0 })) };
}

/// One call of OpenSSL's generator costs some 20 µs, however little is asked for.
const POOL_WORDS: usize = 512;

/// Random words, fetched many at a time: one call per id would cost more than the rest of the id.
struct RandomPool {
    words: [u64; POOL_WORDS],
    left: usize,
}

impl RandomPool {
    fn next(&mut self) -> u64 {
        if self.left == 0 {
            let mut bytes = [0u8; POOL_WORDS * 8];
            fill_random(&mut bytes);
            for (word, chunk) in self.words.iter_mut().zip(bytes.chunks_exact(8)) {
                *word = u64::from_ne_bytes(chunk.try_into().unwrap_or_default());
            }
            self.left = self.words.len();
        }
        self.left -= 1;
        self.words[self.left]
    }
}
