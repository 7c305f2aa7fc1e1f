//! Owns slots, shares of the endpoints, through locks of its one session: they are free the moment it ends, however it
//! ends. Beats every second; while beats are answered, requests may be begun (`lease.rs`).
//!
//! The server ends the session after 10 s without a beat (idle_session_timeout), so that a frozen worker's endpoints
//! go to others. That is well after the lease has expired: at no time do two workers begin requests for an endpoint.

use crate::actor::tailer::Tailer;
use crate::database::{Session, Trouble, backoff};
use crate::exit::{Code, Refusal};
use crate::lease::{Epoch, TERM};
use crate::message::{Gained, GiveUp, Lost};
use crate::pooler;
use crate::shared::{Shared, end, refuse};
use actix::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use uuid::Uuid;

/// Nobody writes to it but main, once.
const MAILBOX: usize = 4;
const BEAT: Duration = Duration::from_secs(1);
/// A beat without an answer for so long: the connection is given up.
const BEAT_ANSWER: Duration = Duration::from_secs(5);
/// Every so many beats the settings are read again.
const SETTINGS_BEATS: u32 = 10;

/// The contracts of sql/worker/ that this worker speaks.
const CONTRACTS: [i32; 1] = [1];

const SETTINGS: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; \
                        SET tcp_user_timeout = 10000; SET idle_session_timeout = '10s';";
const HELLO: &str = "SELECT * FROM webhook.worker_hello()";
const JOIN: &str = "SELECT webhook.worker_join()";
const BEAT_SQL: &str = "SELECT b.*, pg_catalog.pg_backend_pid() AS pid FROM webhook.worker_beat() b";
const TAKE: &str = "SELECT * FROM webhook.worker_take_slots($1, $2, $3)";
const RELEASE: &str = "SELECT webhook.worker_release_slot($1, $2)";

pub struct Owner {
    shared: Arc<Shared>,
    tailer: Addr<Tailer>,
    arm_id: Option<Uuid>,
    on_duty: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
}

/// Everything under way is finished and recorded, slots are released, the process ends.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Shutdown {
    pub within: Duration,
}

impl Owner {
    pub fn new(
        shared: Arc<Shared>,
        tailer: Addr<Tailer>,
        arm_id: Option<Uuid>,
        on_duty: Arc<AtomicBool>,
    ) -> Owner {
        Owner { shared, tailer, arm_id, on_duty, stop: watch::Sender::new(false) }
    }
}

impl Actor for Owner {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        let tenure = Tenure {
            shared: self.shared.clone(),
            tailer: self.tailer.clone(),
            arm_id: self.arm_id,
            on_duty: self.on_duty.clone(),
            stop: self.stop.subscribe(),
            epoch: 0,
            held: BTreeSet::new(),
        };
        ctx.spawn(tenure.serve().into_actor(self));
    }
}

impl Handler<Shutdown> for Owner {
    type Result = ();

    fn handle(&mut self, shutdown: Shutdown, ctx: &mut Context<Self>) {
        self.shared.set_ending();
        self.stop.send_replace(true);
        let shared = self.shared.clone();
        ctx.run_later(shutdown.within, move |_, _| {
            let cut_off = shared.budget.in_flight();
            tracing::warn!("stopping now: {cut_off} requests are cut off and will be made again");
            end(Code::Ok);
        });
    }
}

struct Tenure {
    shared: Arc<Shared>,
    tailer: Addr<Tailer>,
    arm_id: Option<Uuid>,
    on_duty: Arc<AtomicBool>,
    stop: watch::Receiver<bool>,
    epoch: Epoch,
    held: BTreeSet<i32>,
}

/// Why a session ended.
enum Ending {
    Trouble(Trouble),
    /// There are more or fewer slots now.
    Renumbered,
    /// Told to stop, and all is done.
    Stopped,
}

impl From<Trouble> for Ending {
    fn from(trouble: Trouble) -> Ending {
        Ending::Trouble(trouble)
    }
}

impl Tenure {
    async fn serve(mut self) {
        let mut failures = 0;
        loop {
            let ending = match self.session(&mut failures).await {
                Ok(()) => Ending::Stopped,
                Err(ending) => ending,
            };
            self.shared.lease.revoke();
            self.on_duty.store(false, Ordering::Relaxed);
            self.held.clear();
            self.shared.metrics.connected("owner", false);
            self.shared.metrics.slots.set(0);
            let _ = self.tailer.send(Lost).await;
            match ending {
                Ending::Stopped => return end(Code::Ok),
                Ending::Trouble(Trouble::Final(refusal)) => return refuse(&refusal),
                Ending::Renumbered => {
                    tracing::debug!("beginning anew with another number of slots");
                }
                Ending::Trouble(Trouble::Passing(problem)) => {
                    if *self.stop.borrow() {
                        return end(Code::Ok);
                    }
                    if failures == 0 {
                        tracing::warn!(
                            "database {} is unreachable, trying again until it is back: {problem}",
                            self.shared.target.name
                        );
                    }
                    failures += 1;
                    let _ = tokio::time::timeout(backoff(failures), self.stop.changed()).await;
                }
            }
        }
    }

    /// One session, from connecting to its end.
    async fn session(&mut self, failures: &mut u32) -> Result<(), Ending> {
        pooler::refuse(&self.shared.target).await?;
        let session = Session::open(&self.shared.target, "owner", SETTINGS).await?;
        let slots = self.greet(&session).await?;
        session.query_one(JOIN, &[]).await?;
        self.epoch += 1;
        self.shared.set_epoch(self.epoch);
        self.shared.metrics.connected("owner", true);
        *failures = 0;
        tracing::info!("connected to {}", self.shared.target.name);
        let mut announced = false;
        let mut beats: u32 = 0;
        let mut pid: Option<i32> = None;
        loop {
            let began = Instant::now();
            let (members, slots_now) = self.beat(&session, &mut pid).await?;
            if *self.stop.borrow() {
                return Ok(self.finish(&session, slots).await?);
            }
            if slots_now != slots {
                let under_way = self.shared.budget.in_flight();
                tracing::info!(
                    "there are {slots_now} slots now, not {slots}: {under_way} requests under way finish first"
                );
                self.give_up(&session, slots, self.held.iter().copied().collect()).await?;
                return Err(Ending::Renumbered);
            }
            self.share(&session, slots, members, &mut announced).await?;
            beats += 1;
            if beats.is_multiple_of(SETTINGS_BEATS) {
                self.greet(&session).await?;
            }
            let rest = BEAT.saturating_sub(began.elapsed());
            let _ = tokio::time::timeout(rest, self.stop.changed()).await;
        }
    }

    /// Is this a database to serve? Returns its number of slots.
    async fn greet(&self, session: &Session) -> Result<i32, Trouble> {
        let sent = Instant::now();
        let hello = session.query_one(HELLO, &[]).await?;
        let received = Instant::now();
        let read = |error: tokio_postgres::Error| Trouble::of(&error);
        let contract: i32 = hello.try_get("contract").map_err(read)?;
        if !CONTRACTS.contains(&contract) {
            let version: String = hello.try_get("extension_version").map_err(read)?;
            let message = format!(
                "the database has pg_webhook {version} (contract {contract}), this worker {} speaks contract {CONTRACTS:?}: \
                 upgrade the older one, for the extension by ALTER EXTENSION pg_webhook UPDATE",
                env!("CARGO_PKG_VERSION")
            );
            return Err(Trouble::Final(Refusal::new(Code::Version, message)));
        }
        check(
            hello.try_get("in_recovery").map_err(read)?,
            hello.try_get("arm_id").map_err(read)?,
            self.arm_id,
        )?;
        let cap: i32 = hello.try_get("response_cap_bytes").map_err(read)?;
        self.shared.set_rules(cap.max(0) as usize, hello.try_get("signature_freshness_s").map_err(read)?);
        let now: SystemTime = hello.try_get("now").map_err(read)?;
        self.shared.clock.observe(sent, received, now);
        hello.try_get("slots").map_err(read)
    }

    /// Renews the lease; returns how many workers there are, and how many slots.
    async fn beat(&self, session: &Session, pid: &mut Option<i32>) -> Result<(i32, i32), Trouble> {
        let sent = Instant::now();
        let answer = tokio::time::timeout(BEAT_ANSWER, session.query_one(BEAT_SQL, &[])).await;
        let beat = answer.map_err(|_| Trouble::passing("a beat got no answer for 5 s"))??;
        let read = |error: tokio_postgres::Error| Trouble::of(&error);
        let present: i32 = beat.try_get("pid").map_err(read)?;
        if *pid.get_or_insert(present) != present {
            return Err(pooler::found("the server process has changed"));
        }
        check(
            beat.try_get("in_recovery").map_err(read)?,
            beat.try_get("arm_id").map_err(read)?,
            self.arm_id,
        )?;
        let received = Instant::now();
        self.shared.clock.observe(sent, received, beat.try_get("now").map_err(read)?);
        self.shared.lease.renew(self.epoch, sent);
        let members: i32 = beat.try_get("members").map_err(read)?;
        self.shared.metrics.members.set(i64::from(members));
        Ok((members.max(1), beat.try_get("slots").map_err(read)?))
    }

    /// Takes or gives slots, so that every worker has its share.
    async fn share(
        &mut self,
        session: &Session,
        slots: i32,
        members: i32,
        announced: &mut bool,
    ) -> Result<(), Trouble> {
        let fair = (slots as usize).div_ceil(members as usize);
        if self.held.len() > fair {
            let surplus = spread(&self.held, self.held.len() - fair);
            tracing::info!("giving {} of {} slots to other workers", surplus.len(), self.held.len());
            self.give_up(session, slots, surplus).await?;
        } else if self.held.len() < fair || !*announced {
            let held: Vec<i32> = self.held.iter().copied().collect();
            let wanted = (fair - self.held.len()) as i32;
            let row = session.query_one(TAKE, &[&slots, &held, &wanted]).await?;
            let taken: Vec<i32> = row.try_get(0).map_err(|error| Trouble::of(&error))?;
            let abandoned: Vec<i32> = row.try_get(1).map_err(|error| Trouble::of(&error))?;
            if !taken.is_empty() || !*announced {
                self.held.extend(&taken);
                tracing::info!("owns {} of {slots} slots, {members} workers", self.held.len());
                *announced = true;
                let gained = Gained { epoch: self.epoch, slots_in_all: slots, slots: taken, abandoned };
                let _ = self.tailer.send(gained).await;
            }
        }
        self.on_duty.store(self.held.contains(&0), Ordering::Relaxed);
        self.shared.metrics.slots.set(self.held.len() as i64);
        Ok(())
    }

    /// Goes on beating until nothing is under way for these slots, then releases them.
    async fn give_up(&mut self, session: &Session, slots: i32, surplus: Vec<i32>) -> Result<(), Trouble> {
        let mut left = std::pin::pin!(self.tailer.send(GiveUp(surplus.clone())));
        let mut pid = None;
        while tokio::time::timeout(BEAT, &mut left).await.is_err() {
            self.beat(session, &mut pid).await?;
        }
        for slot in surplus {
            session.query_one(RELEASE, &[&slots, &slot]).await?;
            self.held.remove(&slot);
        }
        Ok(())
    }

    async fn finish(&mut self, session: &Session, slots: i32) -> Result<(), Trouble> {
        let all: Vec<i32> = self.held.iter().copied().collect();
        tracing::info!("stopping: {} requests under way may finish", self.shared.budget.in_flight());
        self.give_up(session, slots, all).await?;
        tracing::info!("stopped: everything is recorded");
        Ok(())
    }
}

/// So many of the slots, evenly from all over: endpoints' ids are consecutive, so theirs are mostly the low ones.
fn spread(slots: &BTreeSet<i32>, count: usize) -> Vec<i32> {
    let share = |place: usize| place * count / slots.len();
    let chosen = slots.iter().enumerate().filter(|(place, _)| share(place + 1) > share(*place));
    chosen.map(|(_, slot)| *slot).collect()
}

fn check(in_recovery: bool, arm_id: Option<Uuid>, wanted: Option<Uuid>) -> Result<(), Trouble> {
    let refused = |code, message: String| Err(Trouble::Final(Refusal::new(code, message)));
    if in_recovery {
        return refused(Code::Standby, "the server is a standby: connect to the primary".to_owned());
    }
    match (arm_id, wanted) {
        (None, _) => refused(
            Code::NotArmed,
            "the database is not armed, so nothing is sent from it: it was restored from a dump of another one; if it \
             takes over from that one, SELECT webhook_arm()"
                .to_owned(),
        ),
        (Some(arm_id), Some(wanted)) if arm_id != wanted => refused(
            Code::NotArmed,
            format!(
                "the database's arm id is {arm_id}, not {wanted} as --arm-id demands; webhook_arm() returns the id of a \
                 database when it arms it"
            ),
        ),
        _ => Ok(()),
    }
}

const _: () =
    assert!(TERM.as_secs() * 4 <= 10, "the lease must expire well before the server frees the slots");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_slots_away_from_all_over() {
        let slots = BTreeSet::from_iter(0..8);
        assert_eq!(spread(&slots, 4), [1, 3, 5, 7]);
        assert_eq!(spread(&slots, 3), [2, 5, 7]);
        for count in 0..=8 {
            assert_eq!(spread(&slots, count).len(), count);
        }
    }

    #[test]
    fn serves_an_armed_primary_only() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let code = |in_recovery, arm_id, wanted| match check(in_recovery, arm_id, wanted) {
            Ok(()) => Code::Ok,
            Err(Trouble::Final(refusal)) => refusal.code,
            Err(Trouble::Passing(_)) => Code::Internal,
        };
        assert_eq!(code(false, Some(one), None), Code::Ok);
        assert_eq!(code(false, Some(one), Some(one)), Code::Ok);
        assert_eq!(code(true, Some(one), None), Code::Standby);
        assert_eq!(code(false, None, None), Code::NotArmed);
        assert_eq!(code(false, Some(one), Some(other)), Code::NotArmed);
    }
}
