//! A model of one endpoint, its tail and its queue under random interleavings: commits in any order, paged reads
//! that see the world at one moment and arrive at another, full mailboxes, pauses, lost slots, resends.
//! Whatever happens, each row is taken at most once, and when the world comes to rest nothing is owed.

use super::{Ask, Intake, Page, Room, Row};
use crate::snapshot::Snapshot;
use crate::tail::{Tail, Tell};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet, VecDeque};
use uuid::Uuid;

const ENDPOINT: i32 = 7;
const PAGE_ROWS: usize = 3;
const MAILBOX: usize = 2;
const ROOM: Room = Room { rows: 4, bytes: usize::MAX };

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Owed {
    xid: u64,
    event: u128,
}

impl Row for Owed {
    fn event_id(&self) -> Uuid {
        Uuid::from_u128(self.event)
    }
    fn xid(&self) -> u64 {
        self.xid
    }
    fn due_in_s(&self) -> Option<f64> {
        None
    }
    fn bytes(&self) -> usize {
        1
    }
    fn is_loaded(&self) -> bool {
        true
    }
    fn lane(&self) -> Option<i64> {
        None
    }
}

enum Message {
    Rows(Vec<Owed>),
    Tell(Tell),
}

struct Actor {
    intake: Intake<Owed>,
    mailbox: VecDeque<Message>,
    heard: u32,
    catch_ups: u32,
    /// Asks on their way to the tail.
    asks: VecDeque<(Ask, u32)>,
    read: Option<Page>,
    answer: Option<(u32, Snapshot, Vec<Owed>)>,
}

struct World {
    next_xid: u64,
    next_event: u128,
    /// Transactions that have not ended, and what they wrote.
    open: BTreeMap<u64, Vec<u128>>,
    queue: BTreeMap<u128, u64>,
    tail: Tail,
    lost: bool,
    actor: Option<Actor>,
    /// Requests made and not recorded; recorded and not told.
    under_way: Vec<Owed>,
    recorded: Vec<Owed>,
    taken: HashSet<Owed>,
}

impl World {
    fn new() -> World {
        let mut tail = Tail::new(Snapshot::new(100, vec![]), 1);
        tail.gain(&[0]);
        World {
            next_xid: 100,
            next_event: 1,
            open: BTreeMap::new(),
            queue: BTreeMap::new(),
            tail,
            lost: false,
            actor: None,
            under_way: Vec::new(),
            recorded: Vec::new(),
            taken: HashSet::new(),
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.next_xid, self.open.keys().copied().collect())
    }

    fn begin(&mut self) -> u64 {
        self.next_xid += 1;
        self.open.insert(self.next_xid - 1, Vec::new());
        self.next_xid - 1
    }

    fn end(&mut self, pick: usize, commit: bool) {
        let Some(xid) = self.open.keys().copied().nth(pick % self.open.len().max(1)) else { return };
        let events = self.open.remove(&xid).unwrap_or_default();
        if commit {
            self.queue.extend(events.into_iter().map(|event| (event, xid)));
        }
    }

    fn write(&mut self, pick: usize) {
        // Ids need not come in the order of commits.
        let event = if pick.is_multiple_of(3) { self.next_event + 1_000 } else { self.next_event };
        self.next_event += 1;
        let open = self.open.len();
        if let Some(events) = self.open.values_mut().nth(pick % open.max(1)) {
            events.push(event);
        }
    }

    fn resend(&mut self, pick: usize) {
        let xid = self.next_xid;
        if let Some(row) = self.queue.values_mut().nth(pick % 5) {
            *row = xid;
            self.next_xid += 1;
        }
    }

    fn tail_read(&mut self) {
        self.tell();
        if self.lost {
            return;
        }
        if !self.tail.between_rounds().is_empty() && !self.queue.is_empty() {
            match self.actor {
                Some(_) => self.tail.catch_up(ENDPOINT),
                None => self.start(Intake::catching_up(ROOM)),
            }
        }
        self.tell();
        let query = self.tail.query();
        let since: Snapshot = query.since.parse().unwrap();
        let within: Option<Snapshot> = query.within.map(|text| text.parse().unwrap());
        let mut rows: Vec<Owed> =
            self.queue.iter().map(|(event, xid)| Owed { xid: *xid, event: *event }).collect();
        let after = query.after_xid.map(|xid| (xid as u64, query.after_event.unwrap().as_u128()));
        rows.retain(|row| {
            !since.sees(row.xid)
                && within.as_ref().is_none_or(|within| within.sees(row.xid))
                && after.is_none_or(|after| (row.xid, row.event) > after)
                && !query.muted.contains(&ENDPOINT)
        });
        rows.sort();
        rows.truncate(PAGE_ROWS);
        let full_at = (rows.len() == PAGE_ROWS).then(|| {
            let last = rows[PAGE_ROWS - 1];
            (last.xid as i64, last.event_id())
        });
        let snapshot = self.snapshot();
        if !rows.is_empty() && self.tail.hears(ENDPOINT) {
            if self.actor.is_none() {
                self.start(Intake::live(ROOM));
            }
            let actor = self.actor.as_mut().unwrap();
            if actor.mailbox.len() < MAILBOX {
                actor.mailbox.push_back(Message::Rows(rows));
                self.tail.handed(ENDPOINT);
            } else {
                self.tail.refused(ENDPOINT);
            }
        }
        self.tail.page_read(snapshot, full_at);
    }

    fn start(&mut self, intake: Intake<Owed>) {
        self.tail.enter(ENDPOINT);
        self.actor = Some(Actor {
            intake,
            mailbox: VecDeque::new(),
            heard: 0,
            catch_ups: 0,
            asks: VecDeque::new(),
            read: None,
            answer: None,
        });
    }

    fn tell(&mut self) {
        for (id, tell) in self.tail.untold() {
            if let Some(actor) = self.actor.as_mut().filter(|actor| actor.mailbox.len() < MAILBOX) {
                actor.mailbox.push_back(Message::Tell(tell));
                self.tail.told(id, tell);
            }
        }
    }

    /// The connection is lost: rows, transactions and requests under way stay as they are.
    fn lose(&mut self) {
        self.lost = true;
    }

    fn regain(&mut self) {
        if self.lost {
            self.lost = false;
            let snapshot = self.snapshot();
            self.tail.reset(snapshot, 1);
            self.tail.gain(&[0]);
        }
    }

    fn hear(&mut self) {
        let Some(actor) = &mut self.actor else { return };
        let Some(message) = actor.mailbox.pop_front() else { return };
        actor.heard += 1;
        let ask = match message {
            Message::Rows(rows) => actor.intake.offered(rows).0,
            Message::Tell(Tell::CatchUp) => {
                actor.catch_ups += 1;
                actor.intake.catch_up()
            }
            Message::Tell(Tell::Rejoin) => {
                actor.catch_ups += 1;
                actor.intake.rejoin()
            }
            Message::Tell(Tell::Lagged) => {
                actor.intake.lagged();
                None
            }
            Message::Tell(Tell::Retire) => None,
        };
        actor.asks.extend(ask.map(|ask| (ask, actor.catch_ups)));
    }

    fn asked(&mut self) {
        let Some((ask, catch_ups)) = self.actor.as_mut().and_then(|actor| actor.asks.pop_front()) else {
            return;
        };
        match ask {
            Ask::Mute => self.tail.mute(ENDPOINT, catch_ups),
            Ask::Join => self.tail.join(ENDPOINT, catch_ups),
        }
    }

    fn pause(&mut self, pause: bool) {
        let Some(actor) = &mut self.actor else { return };
        if pause {
            let ask = actor.intake.hold();
            actor.asks.extend(ask.map(|ask| (ask, actor.catch_ups)));
        } else {
            actor.intake.resume();
        }
    }

    fn begin_page(&mut self) {
        let Some(actor) = &mut self.actor else { return };
        if let Some(page) = actor.intake.begin_page() {
            actor.read = Some(page);
        }
    }

    fn execute_page(&mut self) {
        let snapshot = self.snapshot();
        let Some(actor) = &mut self.actor else { return };
        let Some(page) = actor.read.take() else { return };
        let within: Option<Snapshot> = page.within.map(|text| text.parse().unwrap());
        let rows = self.queue.iter().map(|(event, xid)| Owed { xid: *xid, event: *event });
        let rows = rows.filter(|row| page.after.is_none_or(|after| row.event_id() > after));
        let rows = rows.filter(|row| within.as_ref().is_none_or(|within| within.sees(row.xid)));
        actor.answer = Some((page.read, snapshot, rows.take(PAGE_ROWS).collect()));
    }

    fn finish_page(&mut self) {
        let Some(actor) = &mut self.actor else { return };
        let Some((read, snapshot, rows)) = actor.answer.take() else { return };
        let last = rows.len() < PAGE_ROWS;
        let ask = actor.intake.page_read(read, snapshot, rows, last);
        actor.asks.extend(ask.map(|ask| (ask, actor.catch_ups)));
    }

    fn attempt(&mut self) {
        if self.lost {
            return;
        }
        // A slot that was lost and regained: nothing is begun before the actor has heard of it.
        let rejoining = |message: &Message| matches!(message, Message::Tell(Tell::Rejoin));
        if self.tail.untold().iter().any(|(_, tell)| *tell == Tell::Rejoin) {
            return;
        }
        let Some(actor) = &mut self.actor else { return };
        if actor.mailbox.iter().any(rejoining) {
            return;
        }
        if let Some(row) = actor.intake.next(false) {
            assert!(self.taken.insert(row), "{row:?} was taken twice");
            self.under_way.push(row);
        }
    }

    fn record(&mut self, pick: usize) {
        if self.under_way.is_empty() {
            return;
        }
        let row = self.under_way.swap_remove(pick % self.under_way.len());
        if self.queue.get(&row.event) == Some(&row.xid) {
            self.queue.remove(&row.event);
        }
        self.recorded.push(row);
    }

    fn tell_recorded(&mut self) {
        if let Some(row) = self.recorded.pop()
            && let Some(actor) = &mut self.actor
        {
            actor.intake.recorded(row.event_id());
        }
    }

    fn leave(&mut self) {
        let Some(actor) = &self.actor else { return };
        let idle = actor.intake.is_live() && actor.intake.is_empty() && actor.asks.is_empty();
        if idle && self.tail.leave(ENDPOINT, actor.heard) {
            assert!(actor.mailbox.is_empty());
            self.actor = None;
        }
    }

    fn step(&mut self, op: u8, pick: usize) {
        match op {
            0 | 1 => drop(self.begin()),
            2..=5 => self.write(pick),
            6..=8 => self.end(pick, true),
            9 => self.end(pick, false),
            10..=13 => self.tail_read(),
            14..=17 => self.hear(),
            18..=20 => self.begin_page(),
            21 | 22 => self.execute_page(),
            23 | 24 => self.finish_page(),
            25..=28 => self.attempt(),
            29 | 30 => self.record(pick),
            31 | 32 => self.tell_recorded(),
            33 | 34 => self.asked(),
            35 => self.resend(pick),
            36 => self.pause(true),
            37 | 38 => self.pause(false),
            39 => self.leave(),
            40 if pick.is_multiple_of(4) => self.lose(),
            _ => self.regain(),
        }
    }

    fn settle(&mut self) {
        while !self.open.is_empty() {
            self.end(0, true);
        }
        self.regain();
        self.pause(false);
        for _ in 0..2_000 {
            for op in [10, 14, 33, 18, 21, 23, 25, 29, 31, 14, 39] {
                self.step(op, 0);
            }
        }
        assert!(self.queue.is_empty(), "still owed: {:?}", self.queue);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]
    #[test]
    fn each_row_is_taken_exactly_once(steps in prop::collection::vec((0u8..42, 0usize..100), 0..400)) {
        let mut world = World::new();
        for (op, pick) in steps {
            world.step(op, pick);
        }
        world.settle();
    }
}

/// It was let in, and before it could be told there were rows that its mailbox had no room for.
#[test]
fn one_that_is_let_in_while_its_mailbox_is_full_is_let_in_again() {
    let mut world = World::new();
    for op in [0, 2, 6, 10, 36, 37, 0, 0, 2, 18, 6, 21, 10, 23, 2, 33, 33] {
        world.step(op, 0);
    }
    world.settle();
}
