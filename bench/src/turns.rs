//! Drains side by side that take turns, half a second at a time: when the machine is slow for a while, it is for all of them.

use crate::cpu;
use crate::process::{freeze, thaw};
use crate::series::now_us;
use crate::stage::{PATIENCE, Stage, wal};
use harness::Database;
use std::time::{Duration, Instant};

/// How long one goes on before it is the next one's turn.
pub const TURN: Duration = Duration::from_millis(500);
/// Between two looks whether a drain is over.
const LOOK: Duration = Duration::from_millis(5);
/// PostgreSQL finishes what it was asked for before the next one's turn.
const REST: Duration = Duration::from_millis(10);

/// A worker that has been started on a backlog.
pub struct Drain<'a> {
    pub pid: u32,
    /// Where its requests come in, and how many there will be.
    pub lane: u32,
    pub count: u32,
    pub database: &'a Database,
    /// A query that says whether every outcome has been recorded.
    pub done: String,
}

/// What a drain took, from the arrival of its first request to its last outcome, the turns of others left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    pub seconds: f64,
    /// CPU seconds of PostgreSQL, the worker and the receiver.
    pub cpu_s: [f64; 3],
    /// Bytes.
    pub wal: f64,
}

pub struct Turns<'a> {
    stage: &'a Stage,
    drains: Vec<(Drain<'a>, Taken, bool)>,
}

impl<'a> Turns<'a> {
    pub fn new(stage: &'a Stage) -> Turns<'a> {
        Turns { stage, drains: Vec::new() }
    }

    /// Lets a worker that was just started take its first turn. The next one may be started then.
    pub async fn enter(&mut self, drain: Drain<'a>) {
        let first = self.stage.inbox.wait_for(drain.lane, 1, PATIENCE).await;
        let late_s = (now_us() - first.first_us) as f64 / 1e6;
        let mut taken = Taken { seconds: late_s, ..Taken::default() };
        let done = turn(self.stage, &drain, &mut taken).await;
        self.drains.push((drain, taken, done));
    }

    /// Goes on until all are done; returns what each took, in the order in which they entered.
    pub async fn all_taken(mut self) -> Vec<Taken> {
        while self.drains.iter().any(|(_, _, done)| !done) {
            for (drain, taken, done) in self.drains.iter_mut().filter(|(_, _, done)| !done) {
                *done = turn(self.stage, drain, taken).await;
            }
        }
        self.drains.into_iter().map(|(_, taken, _)| taken).collect()
    }
}

/// One turn, at whose end it is frozen; or to its end, if that comes before.
async fn turn(stage: &Stage, drain: &Drain<'_>, taken: &mut Taken) -> bool {
    let used = || {
        [
            cpu::server_s(&stage.cluster.data()),
            cpu::process_s(drain.pid),
            cpu::process_s(stage.inbox.process.pid()),
        ]
    };
    let (cpu_before, wal_before) = (used(), wal(drain.database).await);
    let began = Instant::now();
    thaw(drain.pid);
    let mut done = false;
    while !done && began.elapsed() < TURN {
        tokio::time::sleep(LOOK).await;
        done = stage.inbox.arrived(drain.lane).await.received >= u64::from(drain.count)
            && drain.database.text(&drain.done).await == "t";
    }
    if !done {
        freeze(drain.pid);
    }
    taken.seconds += began.elapsed().as_secs_f64();
    tokio::time::sleep(REST).await;
    for ((sum, before), after) in taken.cpu_s.iter_mut().zip(cpu_before).zip(used()) {
        *sum += after - before;
    }
    taken.wal += wal(drain.database).await - wal_before;
    done
}
