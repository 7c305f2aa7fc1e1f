//! Reads new rows of the queue, for all endpoints at once, and hands them to their actors. Woken by the listener; looks
//! in any case now and then. What is read, and who hears of it, is decided in `tail.rs`; when, in `pace.rs`.

mod job;

use crate::database::{Session, Trouble, backoff};
use crate::intake::Ask;
use crate::lease::Epoch;
use crate::message::{AskTail, Changed, Gained, GiveUp, Leave, Lost, Wake};
use crate::pace::Pace;
use crate::roster::Roster;
use crate::shared::{Shared, refuse};
use actix::prelude::*;
use job::{Done, Job, perform};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Endpoints' asks and wakes: each is handled at once, so this holds what comes within one turn.
const MAILBOX: usize = 1_024;
/// Configurations of one read.
const CONFIGS: usize = 500;
/// Configurations are read again in any case: a secret expires without a word, and a NOTIFY may be lost.
const RELOAD: Duration = Duration::from_secs(60);
/// While windows are full: until they are looked at again, and at most.
const HOLD_BACK: Duration = Duration::from_millis(5);
const HOLD_BACK_MOST: Duration = Duration::from_millis(250);
/// Until members whose mailbox was full are told again.
const TELL_AGAIN: Duration = Duration::from_millis(5);

pub struct Tailer {
    shared: Arc<Shared>,
    roster: Roster,
    session: Option<Rc<Session>>,
    /// What the owner holds, and since when.
    held: Option<Held>,
    /// The roster's tail was started on the present session.
    started: bool,
    /// Slots whose backlog has to be looked through.
    unscanned: Vec<i32>,
    pace: Pace,
    working: bool,
    failures: u32,
    timer: Option<(Instant, SpawnHandle)>,
    config_turn: bool,
    /// What was heard of while something is being read: it holds for what has been read, too.
    changes: Vec<Changed>,
    /// Bytes of all windows when they were looked at last, and since when their shrinking is waited for.
    window: usize,
    held_back: Option<Instant>,
    leaving: Vec<(Vec<i32>, oneshot::Sender<()>)>,
}

struct Held {
    epoch: Epoch,
    slots_in_all: i32,
    slots: Vec<i32>,
}

impl Tailer {
    pub fn new(shared: Arc<Shared>, roster: Roster) -> Tailer {
        Tailer {
            shared,
            roster,
            session: None,
            held: None,
            started: false,
            unscanned: Vec::new(),
            pace: Pace::new(Instant::now()),
            working: false,
            failures: 0,
            timer: None,
            config_turn: false,
            changes: Vec::new(),
            window: 0,
            held_back: None,
            leaving: Vec::new(),
        }
    }

    /// Does what is next, one thing at a time.
    fn work(&mut self, ctx: &mut Context<Self>) {
        if self.working {
            return;
        }
        for change in self.changes.drain(..) {
            self.roster.changed(change);
        }
        let now = Instant::now();
        if self.held.is_none() {
            // Those that finish what is under way still have to be told.
            if !self.roster.tell() {
                self.wait_until(now + TELL_AGAIN, ctx);
            }
            return;
        }
        let Some(job) = self.next_job(now, ctx) else { return };
        self.working = true;
        let (shared, session) = (self.shared.clone(), self.session.clone());
        let slots = self.held.as_ref().map_or(1, |held| held.slots_in_all);
        let epoch = self.held.as_ref().map_or(0, |held| held.epoch);
        let work = async move { perform(job, &shared, session.as_deref(), slots).await };
        ctx.spawn(work.into_actor(self).map(move |result, tailer, ctx| {
            tailer.working = false;
            if tailer.held.as_ref().is_none_or(|held| held.epoch != epoch) {
                // The slots were lost meanwhile: whatever it was, it is void.
                tailer.begin_anew();
                return tailer.work(ctx);
            }
            match result {
                Ok(done) => tailer.done(done, ctx),
                Err(Trouble::Final(refusal)) => refuse(&refusal),
                Err(Trouble::Passing(problem)) => tailer.failed(&problem, ctx),
            }
        }));
    }

    fn next_job(&mut self, now: Instant, ctx: &mut Context<Self>) -> Option<Job> {
        if self.session.is_none() {
            return Some(Job::Open);
        }
        if !self.started {
            return Some(Job::Snapshot);
        }
        if !self.unscanned.is_empty() {
            return Some(Job::Pending(std::mem::take(&mut self.unscanned)));
        }
        self.roster.ring(now);
        let told = self.roster.tell();
        let look = self.pace.next() <= now;
        if self.roster.has_unread() && (self.config_turn || !look) {
            self.config_turn = false;
            return Some(Job::Configs(self.roster.take_unread(CONFIGS)));
        }
        self.config_turn = true;
        let mut next = self.pace.next();
        if look {
            let gained = self.roster.tail.between_rounds();
            if !gained.is_empty() {
                // The tail includes them from here on: what their backlog holds can be read.
                self.unscanned = gained;
                return self.next_job(now, ctx);
            }
            if self.roster.tail.owned().is_empty() {
                self.pace.read(now, false, false);
                next = self.pace.next();
            } else if self.holds_back(now) {
                next = now + HOLD_BACK;
            } else {
                self.roster.tell();
                return Some(Job::Page(self.roster.tail.query(), self.shared.budget.page_bytes()));
            }
        }
        if let Some(alarm) = self.roster.next_alarm() {
            next = next.min(alarm);
        }
        if !told {
            next = next.min(now + TELL_AGAIN);
        }
        self.wait_until(next, ctx);
        None
    }

    /// Whether to wait for windows that are full but get emptier: otherwise their endpoints would have to read one by
    /// one what is read here for all. Those that stand still are not waited for.
    fn holds_back(&mut self, now: Instant) -> bool {
        let window = self.shared.budget.window();
        let shrinks = window < std::mem::replace(&mut self.window, window);
        let waits = self.shared.budget.is_tight()
            && self.held_back.is_none_or(|since| shrinks && now < since + HOLD_BACK_MOST);
        self.held_back = waits.then(|| self.held_back.unwrap_or(now));
        waits
    }

    fn done(&mut self, done: Done, ctx: &mut Context<Self>) {
        let now = Instant::now();
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!("the queue is read again");
        }
        match done {
            Done::Opened(session) => {
                self.session = Some(Rc::new(session));
                self.shared.metrics.connected("tailer", true);
            }
            Done::Snapshot(snapshot) => {
                if let Some(held) = &self.held {
                    self.roster.set_epoch(held.epoch);
                    self.roster.tail.reset(snapshot, held.slots_in_all);
                    self.roster.tail.gain(&held.slots);
                    self.roster.tail.retire_strangers();
                    self.roster.forget_strangers();
                    self.roster.changed(Changed::Configs);
                    self.started = true;
                    self.pace.woken(now);
                }
            }
            Done::Pending(pending) => {
                for (endpoint_id, ready, due_in_s) in pending {
                    let due = due_in_s.map(|seconds| super::reader::in_seconds(now, seconds));
                    self.roster.owed(endpoint_id, ready, due);
                }
            }
            Done::Configs(asked, found) => self.roster.configured(&asked, found),
            Done::Page { snapshot, full_at, rows } => {
                self.shared.metrics.tail_reads.inc();
                let found = !rows.is_empty();
                self.roster.hand_over(rows);
                let over = self.roster.tail.page_read(snapshot, full_at);
                self.pace.read(now, found, !over);
            }
        }
        self.work(ctx);
    }

    fn failed(&mut self, problem: &str, ctx: &mut Context<Self>) {
        if self.failures == 0 && !self.shared.is_ending() {
            tracing::warn!("the queue can't be read, trying again: {problem}");
        }
        self.failures += 1;
        self.begin_anew();
        self.wait_until(Instant::now() + backoff(self.failures), ctx);
    }

    /// On a new connection, which may be to another server: what snapshots said holds no longer.
    fn begin_anew(&mut self) {
        self.session = None;
        self.started = false;
        self.unscanned.clear();
        self.roster.tail.disown_all();
        self.shared.metrics.connected("tailer", false);
    }

    fn wait_until(&mut self, until: Instant, ctx: &mut Context<Self>) {
        if let Some((at, handle)) = self.timer.take() {
            if at <= until && at > Instant::now() {
                self.timer = Some((at, handle));
                return;
            }
            ctx.cancel_future(handle);
        }
        let wait = until.saturating_duration_since(Instant::now());
        let handle = ctx.run_later(wait, |tailer, ctx| {
            tailer.timer = None;
            tailer.work(ctx);
        });
        self.timer = Some((until, handle));
    }

    fn check_leaving(&mut self) {
        let tail = &self.roster.tail;
        for (_, done) in self.leaving.extract_if(.., |(slots, _)| !tail.has_member_in(slots)) {
            // The owner may have gone on without waiting.
            let _ = done.send(());
        }
    }
}

impl Actor for Tailer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        ctx.run_interval(RELOAD, |tailer, ctx| {
            tailer.roster.changed(Changed::Configs);
            tailer.work(ctx);
        });
    }
}

impl Handler<Wake> for Tailer {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        self.shared.metrics.wakes.inc();
        self.pace.woken(Instant::now());
        self.work(ctx);
    }
}

impl Handler<Changed> for Tailer {
    type Result = ();

    fn handle(&mut self, change: Changed, ctx: &mut Context<Self>) {
        self.roster.changed(change);
        if self.working {
            self.changes.push(change);
        }
        self.config_turn = true;
        self.work(ctx);
    }
}

impl Handler<AskTail> for Tailer {
    type Result = ();

    fn handle(&mut self, asked: AskTail, ctx: &mut Context<Self>) {
        match asked.ask {
            Ask::Mute => self.roster.tail.mute(asked.endpoint_id, asked.catch_ups),
            Ask::Join => {
                self.roster.tail.join(asked.endpoint_id, asked.catch_ups);
                self.pace.woken(Instant::now());
                self.work(ctx);
            }
        }
    }
}

impl Handler<Leave> for Tailer {
    type Result = bool;

    fn handle(&mut self, leave: Leave, ctx: &mut Context<Self>) -> bool {
        let left = self.roster.leave(leave.endpoint_id, leave.heard, leave.due);
        if left {
            self.check_leaving();
            self.work(ctx);
        }
        left
    }
}

impl Handler<Gained> for Tailer {
    type Result = ();

    fn handle(&mut self, gained: Gained, ctx: &mut Context<Self>) {
        self.roster.took(&gained.slots, &gained.abandoned);
        match &mut self.held {
            Some(held) if held.epoch == gained.epoch => {
                held.slots.extend(&gained.slots);
                self.roster.tail.gain(&gained.slots);
            }
            _ => {
                self.begin_anew();
                let Gained { epoch, slots_in_all, slots, .. } = gained;
                self.held = Some(Held { epoch, slots_in_all, slots });
            }
        }
        self.pace.woken(Instant::now());
        self.work(ctx);
    }
}

impl Handler<Lost> for Tailer {
    type Result = ();

    fn handle(&mut self, _: Lost, _: &mut Context<Self>) {
        self.held = None;
        self.begin_anew();
    }
}

impl Handler<GiveUp> for Tailer {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, GiveUp(slots): GiveUp, ctx: &mut Context<Self>) -> ResponseFuture<()> {
        if let Some(held) = &mut self.held {
            held.slots.retain(|slot| !slots.contains(slot));
        }
        self.roster.tail.lose(&slots);
        self.roster.forget_strangers();
        let (done, left) = oneshot::channel();
        self.leaving.push((slots, done));
        self.check_leaving();
        self.work(ctx);
        Box::pin(async {
            let _ = left.await;
        })
    }
}
