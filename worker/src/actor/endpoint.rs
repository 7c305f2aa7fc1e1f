//! One endpoint with work: holds what it is owed, makes its attempts, and keeps its troubles to itself.
//!
//! It is started by the roster when there is work and leaves when there has been none for a while. What it holds is
//! decided in `intake.rs`; when it spares a failing receiver, in `protocol::breaker`; what follows an attempt, in
//! `protocol::outcome`. Configuration is looked at when an attempt starts: a change holds for all that follow.

mod apart;
mod ordered;
mod reading;
mod turn;

use crate::actor::caller::Caller;
use crate::actor::reader::{Reader, in_seconds};
use crate::actor::recorder::Recorder;
use crate::actor::tailer::Tailer;
use crate::config::{EndpointConfig, Status};
use crate::gate::{Gate, Line, Pass, Way};
use crate::http::Http;
use crate::intake::{Ask, Intake, Room};
use crate::lanes::Lanes;
use crate::lease::Epoch;
use crate::message::{AskTail, Configure, Offer, Told};
use crate::outcome::{Kind, Outcome};
use crate::owed::Owed;
use crate::page::PageSize;
use crate::shared::Shared;
use crate::tail::Tell;
use actix::prelude::*;
use futures_util::stream::poll_fn;
use ordered::wants_order;
use protocol::breaker::Breaker;
use protocol::rate::RateLimit;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Pages of the tail, and what it has to tell: when full, the endpoint reads its backlog instead.
const MAILBOX: usize = 8;
/// What is taken from the tail before the rest is left to the backlog.
const ROOM: Room = Room { rows: 2_000, bytes: 4 << 20 };

/// What an endpoint's actor is started with.
pub struct Seed {
    pub endpoint_id: i32,
    pub epoch: Epoch,
    /// When its slot was taken over from a worker that ended without a word, if it was.
    pub takeover: Option<Instant>,
    pub config: Option<Arc<EndpointConfig>>,
    /// When something is due that was not in hand when its last actor left.
    pub due: Option<Instant>,
    pub start: Start,
    pub shared: Arc<Shared>,
    pub http: Http,
    pub gate: Gate,
    pub reader: Addr<Reader>,
    pub recorder: Addr<Recorder>,
    pub caller: Addr<Caller>,
    pub tailer: Addr<Tailer>,
}

/// Outcomes of attempts taken in one turn.
const RESULTS: usize = 64;
/// Configurations that come after the slots were lost are waited for so long.
const REJOINED: Duration = Duration::from_secs(1);

pub enum Start {
    /// With its first rows. It is owed nothing else that is not due later.
    Live(Vec<Owed>),
    /// It is owed what its backlog holds.
    CatchUp,
}

pub struct Endpoint {
    seed: Seed,
    intake: Intake<Owed>,
    /// Deliveries go in order, through `lanes`; otherwise those are empty.
    ordered: bool,
    lanes: Lanes<Owed>,
    page: PageSize,
    breaker: Breaker,
    rate: Option<RateLimit>,
    in_flight: usize,
    /// Through the gate to where it is configured to be called.
    way: Option<Way>,
    line: Line,
    /// Waited for, and what came of it.
    queued: bool,
    pass: Option<Pass>,
    /// Outcomes of attempts come back here. Unbounded, but never more than are in flight. Boxed: a channel takes
    /// room for 32 from the start.
    results: mpsc::UnboundedSender<Box<Outcome>>,
    done: Vec<Outcome>,
    flushing: bool,
    /// Outcomes being recorded apart.
    apart: usize,
    /// When rows may be due that are not in hand.
    due: Option<Instant>,
    /// Not before then is read again, after a read that failed.
    read_after: Option<Instant>,
    look_after: Option<Instant>,
    /// Until when a newer configuration is waited for.
    stale: Option<Instant>,
    retiring: bool,
    /// See `tail.rs`.
    heard: u32,
    catch_ups: u32,
    asking: bool,
    wanted: Option<(Ask, u32)>,
    leaving: bool,
    idle_since: Option<Instant>,
    timer: Option<(Instant, SpawnHandle)>,
    /// Bytes of the window as the budget knows them.
    accounted: usize,
}

impl Endpoint {
    pub fn new(seed: Seed) -> Endpoint {
        let ordered = seed.config.as_ref().is_some_and(|config| wants_order(config));
        let (intake, due) = match &seed.start {
            // In order, others may wait behind what is due.
            _ if ordered => (Intake::catching_up(ROOM), Some(Instant::now())),
            Start::Live(_) => (Intake::live(ROOM), seed.due),
            Start::CatchUp => (Intake::catching_up(ROOM), seed.due),
        };
        Endpoint {
            seed,
            intake,
            ordered,
            lanes: Lanes::new(),
            page: PageSize::new(),
            breaker: Breaker::new(),
            rate: None,
            in_flight: 0,
            way: None,
            line: Line::Silent,
            queued: false,
            pass: None,
            results: mpsc::unbounded_channel().0,
            done: Vec::new(),
            flushing: false,
            apart: 0,
            due,
            read_after: None,
            look_after: None,
            stale: None,
            retiring: false,
            heard: 0,
            catch_ups: 0,
            asking: false,
            wanted: None,
            leaving: false,
            idle_since: None,
            timer: None,
            accounted: 0,
        }
    }

    fn offered(&mut self, rows: Vec<Owed>, ctx: &mut Context<Self>) {
        self.seed.shared.metrics.rows_read.inc_by(rows.len() as u64);
        let (ask, due_in_s) = self.intake.offered(rows);
        if let Some(seconds) = due_in_s {
            self.due_by(in_seconds(Instant::now(), seconds));
        }
        self.ask(ask, ctx);
    }

    fn hold(&mut self, ctx: &mut Context<Self>) {
        self.drop_lanes();
        let ask = self.intake.hold();
        self.ask(ask, ctx);
    }

    fn drop_lanes(&mut self) {
        for event_id in self.lanes.drop_waiting() {
            self.intake.recorded(event_id);
        }
    }

    fn due_by(&mut self, due: Instant) {
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }

    /// Asks the tail, one thing at a time and in order.
    fn ask(&mut self, ask: Option<Ask>, ctx: &mut Context<Self>) {
        if let Some(ask) = ask {
            self.wanted = Some((ask, self.catch_ups));
        }
        if self.asking {
            return;
        }
        let Some((ask, catch_ups)) = self.wanted.take() else { return };
        self.asking = true;
        let asked = self.seed.tailer.send(AskTail { endpoint_id: self.seed.endpoint_id, ask, catch_ups });
        ctx.spawn(asked.into_actor(self).map(|_, endpoint, ctx| {
            endpoint.asking = false;
            endpoint.ask(None, ctx);
            endpoint.turn(ctx);
        }));
    }
}

impl Actor for Endpoint {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        let (results, mut incoming) = mpsc::unbounded_channel();
        self.results = results;
        ctx.add_stream(poll_fn(move |context| {
            let mut outcomes = Vec::new();
            let count = ready!(incoming.poll_recv_many(context, &mut outcomes, RESULTS));
            Poll::Ready((count > 0).then_some(outcomes))
        }));
        if let Start::Live(rows) = std::mem::replace(&mut self.seed.start, Start::CatchUp) {
            self.offered(rows, ctx);
        }
        self.turn(ctx);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.seed.shared.budget.window_changed(self.accounted, 0);
    }
}

impl Handler<Offer> for Endpoint {
    type Result = ();

    fn handle(&mut self, Offer(rows): Offer, ctx: &mut Context<Self>) {
        self.heard += 1;
        self.offered(rows, ctx);
        self.turn(ctx);
    }
}

impl Handler<Told> for Endpoint {
    type Result = ();

    fn handle(&mut self, Told { tell, epoch, takeover }: Told, ctx: &mut Context<Self>) {
        self.heard += 1;
        match tell {
            Tell::CatchUp | Tell::Rejoin => {
                self.catch_ups += 1;
                // Void, as of before.
                self.wanted = None;
                if std::mem::take(&mut self.retiring) {
                    self.intake.resume();
                }
                let ask = if tell == Tell::Rejoin {
                    self.seed.epoch = epoch;
                    self.seed.takeover = takeover;
                    self.drop_lanes();
                    // Changes were not heard of meanwhile; the tailer reads all configurations again.
                    self.stale = Some(Instant::now() + REJOINED);
                    self.intake.rejoin()
                } else {
                    self.intake.catch_up()
                };
                // What is due is not the tail's to tell.
                self.due = Some(Instant::now());
                self.ask(ask, ctx);
            }
            Tell::Lagged => self.intake.lagged(),
            Tell::Retire => {
                self.retiring = true;
                self.hold(ctx);
            }
        }
        self.turn(ctx);
    }
}

impl Handler<Configure> for Endpoint {
    type Result = ();

    fn handle(&mut self, Configure { config, recall }: Configure, ctx: &mut Context<Self>) {
        self.heard += 1;
        self.stale = None;
        let before = self.seed.config.replace(config.clone());
        self.way = None;
        let was_paused = before.is_some_and(|before| before.status == Status::Paused);
        if config.status == Status::Paused {
            self.hold(ctx);
        } else if (was_paused || recall) && !self.retiring {
            if recall {
                self.hold(ctx);
            }
            self.intake.resume();
        }
        self.turn(ctx);
    }
}

impl StreamHandler<Vec<Box<Outcome>>> for Endpoint {
    fn handle(&mut self, outcomes: Vec<Box<Outcome>>, ctx: &mut Context<Self>) {
        for outcome in outcomes {
            self.in_flight -= 1;
            let answered = outcome.request.as_ref().is_some_and(|request| request.answer.is_some());
            self.line = if answered { Line::Answers } else { Line::Silent };
            match outcome.kind {
                Kind::Delivered => self.breaker.succeeded(),
                _ => self.breaker.failed(self.seed.shared.now_ms(Instant::now())),
            }
            self.finish(*outcome, ctx);
        }
        self.turn(ctx);
    }
}
