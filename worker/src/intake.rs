//! What an endpoint's actor holds of the queue, and where it comes from: the tail while it keeps up, its own backlog
//! when it does not. No I/O; `actor/endpoint.rs` is the skin around it.
//!
//! **Invariant: every row owed is taken exactly once** (by its event and transaction), as long as the slot is held.
//!
//! 1. *Live*: the tail offers every row that its snapshot did not see. What fits goes into the window.
//! 2. What does not fit is dropped, the tail is told to mute us, and we are *behind*: passes read the backlog by a
//!    cursor over event ids. Rows already in hand are passed over by id, and so are rows let go of while the read
//!    was under way, for the read may have seen them before they were recorded.
//! 3. When a pass has come to its end we ask to *join*. The tail lets us in between two rounds, with snapshot S, and
//!    says so; what it sent before that is dropped. Now every row that S does not see is offered.
//! 4. Then we are *catching up*: one more pass from the start. Its first page has snapshot P, read later than S, so
//!    P sees what S sees. Later pages are restricted to what P sees. Rows the tail offers that P sees are dropped
//!    (the pass has them), also after we are *live* again, for they may have waited in the mailbox. The others are
//!    held until the pass is over. Together: all, and none twice. If they don't fit, we are behind again.
//!
//! A row whose event is in hand under another transaction was resent meanwhile: it is taken after the first is let
//! go of, by another pass.

mod stage;
mod terms;

use crate::snapshot::Snapshot;
use stage::{Pass, Stage, catching_up};
use std::collections::{HashMap, HashSet, VecDeque};
use uuid::Uuid;

pub use terms::{Ask, Page, Room, Row};

pub struct Intake<R> {
    stage: Stage<R>,
    /// To be attempted as soon as possible.
    window: VecDeque<R>,
    /// Retries and delayed ones whose time has come.
    due: VecDeque<R>,
    /// Bytes of both, and of rows that wait for a pass to end.
    bytes: usize,
    /// Event and transaction of everything in the window, under way, or not yet recorded.
    in_hand: HashMap<Uuid, u64>,
    /// Events in hand that were resent meanwhile.
    superseded: HashSet<Uuid>,
    /// What was let go of while a read was under way.
    let_go: HashMap<Uuid, u64>,
    /// Counts reads, so that the answer to one given up is known.
    read: u32,
    reading: bool,
    room: Room,
}

impl<R: Row> Intake<R> {
    /// For an endpoint whose first rows come from the tail: it is owed nothing else.
    pub fn live(room: Room) -> Intake<R> {
        Intake {
            stage: Stage::Live(None),
            window: VecDeque::new(),
            due: VecDeque::new(),
            bytes: 0,
            in_hand: HashMap::new(),
            superseded: HashSet::new(),
            let_go: HashMap::new(),
            read: 0,
            reading: false,
            room,
        }
    }

    /// For an endpoint that may be owed what came before the tail's snapshot.
    pub fn catching_up(room: Room) -> Intake<R> {
        Intake { stage: catching_up(), ..Intake::live(room) }
    }

    /// Rows from the tail. Returns what to ask of it, and in how many seconds the first of the rows that are not
    /// due yet will be.
    pub fn offered(&mut self, rows: impl IntoIterator<Item = R>) -> (Option<Ask>, Option<f64>) {
        if matches!(self.stage, Stage::Behind(_) | Stage::Joining | Stage::Held) {
            return (None, None);
        }
        let mut first_due: Option<f64> = None;
        for row in rows {
            if let Some(due_in_s) = row.due_in_s() {
                first_due = Some(first_due.map_or(due_in_s, |first| first.min(due_in_s)));
                continue;
            }
            if self.pass_sees(row.xid()) {
                continue;
            }
            if !row.is_loaded() || !self.has_room() {
                return (Some(self.fall_behind()), first_due);
            }
            if let Stage::CatchingUp { held, .. } = &mut self.stage {
                self.bytes += row.bytes();
                held.push(row);
            } else {
                self.take(row, false);
            }
        }
        (None, first_due)
    }

    /// The tail could not hand rows over, and has muted us.
    pub fn lagged(&mut self) {
        if matches!(self.stage, Stage::Live(_) | Stage::CatchingUp { .. }) {
            self.fall_behind();
        }
    }

    /// The tail offers every row that its present snapshot does not see. Reads under way are given up. An endpoint
    /// that is held asks to be muted again.
    pub fn catch_up(&mut self) -> Option<Ask> {
        match self.stage {
            Stage::Held => Some(Ask::Mute),
            _ => {
                self.drop_held();
                // A page under way belongs to another pass.
                self.reading = false;
                self.stage = catching_up();
                None
            }
        }
    }

    /// As `catch_up`, after the slot was lost: what has not been begun may have been sent by others.
    pub fn rejoin(&mut self) -> Option<Ask> {
        self.drop_waiting();
        self.catch_up()
    }

    /// Takes nothing more, and forgets what was not begun.
    pub fn hold(&mut self) -> Option<Ask> {
        let heard = matches!(self.stage, Stage::Live(_) | Stage::CatchingUp { .. });
        self.drop_waiting();
        self.reading = false;
        self.stage = Stage::Held;
        heard.then_some(Ask::Mute)
    }

    /// Ends `hold`.
    pub fn resume(&mut self) {
        if matches!(self.stage, Stage::Held) {
            self.stage = Stage::Behind(Pass::default());
        }
    }

    pub fn is_held(&self) -> bool {
        matches!(self.stage, Stage::Held)
    }

    pub fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Live(_))
    }

    /// Nothing in the window, under way or unrecorded.
    pub fn is_empty(&self) -> bool {
        self.in_hand.is_empty()
    }

    pub fn waiting(&self) -> usize {
        self.window.len() + self.due.len()
    }

    /// Of those, the ones to be attempted as soon as possible.
    pub fn first_waiting(&self) -> usize {
        self.window.len()
    }

    /// Of those, the ones whose time has come.
    pub fn due_waiting(&self) -> usize {
        self.due.len()
    }

    pub fn in_hand(&self) -> usize {
        self.in_hand.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next page of the pass, if there is one and no read is under way.
    pub fn begin_page(&mut self) -> Option<Page> {
        let (Stage::Behind(pass) | Stage::CatchingUp { pass, .. }) = &self.stage else { return None };
        if self.reading {
            return None;
        }
        let (after, within) = (pass.after, pass.within.as_ref().map(Snapshot::to_string));
        Some(Page { read: self.begin_read(), after, within })
    }

    /// A read of rows whose time has come, if no read is under way.
    pub fn begin_due(&mut self) -> Option<u32> {
        (!self.reading && !self.is_held()).then(|| self.begin_read())
    }

    fn begin_read(&mut self) -> u32 {
        self.reading = true;
        self.let_go.clear();
        self.read = self.read.wrapping_add(1);
        self.read
    }

    /// False for the answer to a read that was given up.
    fn end_read(&mut self, read: u32) -> bool {
        let expected = self.reading && self.read == read;
        if expected {
            self.reading = false;
        }
        expected
    }

    pub fn is_reading(&self) -> bool {
        self.reading
    }

    pub fn read_failed(&mut self, read: u32) {
        self.end_read(read);
    }

    /// A page of the pass, and whether it was the last one.
    pub fn page_read(&mut self, read: u32, snapshot: Snapshot, rows: Vec<R>, last: bool) -> Option<Ask> {
        if !self.end_read(read) {
            return None;
        }
        let mut last = last;
        let mut after = None;
        for row in rows {
            if !row.is_loaded() {
                last = false;
                break;
            }
            after = Some(row.event_id());
            self.take_read(row, false);
        }
        self.let_go.clear();
        match &mut self.stage {
            Stage::Behind(pass) => {
                pass.advance(snapshot, after);
                if last {
                    self.stage = Stage::Joining;
                    return Some(Ask::Join);
                }
            }
            Stage::CatchingUp { pass, held, .. } => {
                if pass.within.is_none() {
                    let mut freed = 0;
                    held.retain(|row| {
                        let stays = !snapshot.sees(row.xid());
                        freed += if stays { 0 } else { row.bytes() };
                        stays
                    });
                    self.bytes -= freed;
                }
                pass.advance(snapshot, after);
                if last {
                    self.caught_up();
                }
            }
            Stage::Live(_) | Stage::Joining | Stage::Held => {}
        }
        None
    }

    /// Rows whose time has come. Returns how many of them were new.
    pub fn due_read(&mut self, read: u32, rows: Vec<R>) -> usize {
        if !self.end_read(read) {
            return 0;
        }
        let before = self.due.len();
        for row in rows.into_iter().take_while(R::is_loaded) {
            self.take_read(row, true);
        }
        self.let_go.clear();
        self.due.len() - before
    }

    /// The next row to attempt: those whose time has come first; with `only_due`, no other.
    pub fn next(&mut self, only_due: bool) -> Option<R> {
        let row = self.due.pop_front().or_else(|| if only_due { None } else { self.window.pop_front() })?;
        self.bytes -= row.bytes();
        Some(row)
    }

    /// Gives back the memory of a window that is empty: many endpoints have little to do.
    pub fn shrink(&mut self) {
        if self.in_hand.is_empty() {
            self.window.shrink_to_fit();
            self.due.shrink_to_fit();
            self.in_hand.shrink_to_fit();
        }
    }

    /// Puts back a row that `next` gave and that was not begun.
    pub fn put_back(&mut self, row: R) {
        self.bytes += row.bytes();
        if row.due_in_s().is_some() { self.due.push_front(row) } else { self.window.push_front(row) }
    }

    /// What came of a row has been recorded. True: the delivery was renewed meanwhile, and may be due.
    pub fn recorded(&mut self, event_id: Uuid) -> bool {
        let Some(xid) = self.in_hand.remove(&event_id) else { return false };
        if self.reading {
            self.let_go.insert(event_id, xid);
        }
        let renewed = self.superseded.remove(&event_id);
        if renewed {
            match &mut self.stage {
                Stage::Live(_) => self.stage = catching_up(),
                Stage::CatchingUp { again, .. } => *again = true,
                Stage::Behind(_) | Stage::Joining | Stage::Held => {}
            }
        }
        renewed
    }

    /// Whether the pass that is under way, or was the last one, has this row.
    fn pass_sees(&self, xid: u64) -> bool {
        match &self.stage {
            Stage::Live(within) => within.as_ref().is_some_and(|within| within.sees(xid)),
            Stage::CatchingUp { pass, .. } => pass.within.as_ref().is_some_and(|within| within.sees(xid)),
            Stage::Behind(_) | Stage::Joining | Stage::Held => true,
        }
    }

    fn has_room(&self) -> bool {
        let held = if let Stage::CatchingUp { held, .. } = &self.stage { held.len() } else { 0 };
        self.window.len() + held < self.room.rows && (self.bytes < self.room.bytes || self.bytes == 0)
    }

    fn take_read(&mut self, row: R, is_due: bool) {
        if self.let_go.get(&row.event_id()) != Some(&row.xid()) {
            self.take(row, is_due);
        }
    }

    fn take(&mut self, row: R, is_due: bool) {
        match self.in_hand.get(&row.event_id()) {
            Some(xid) if *xid == row.xid() => {}
            Some(_) => drop(self.superseded.insert(row.event_id())),
            None => {
                self.in_hand.insert(row.event_id(), row.xid());
                self.bytes += row.bytes();
                if is_due { self.due.push_back(row) } else { self.window.push_back(row) }
            }
        }
    }

    fn fall_behind(&mut self) -> Ask {
        self.drop_held();
        let pass = match std::mem::replace(&mut self.stage, Stage::Joining) {
            Stage::CatchingUp { pass, .. } => pass,
            _ => Pass::default(),
        };
        self.stage = Stage::Behind(pass);
        Ask::Mute
    }

    fn caught_up(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Joining) {
            Stage::CatchingUp { pass, held, again } => {
                self.stage = Stage::Live(pass.within);
                for row in held {
                    self.bytes -= row.bytes();
                    self.take(row, false);
                }
                if again {
                    self.stage = catching_up();
                }
            }
            stage => self.stage = stage,
        }
    }

    fn drop_held(&mut self) {
        if let Stage::CatchingUp { held, .. } = &mut self.stage {
            self.bytes -= held.drain(..).map(|row| row.bytes()).sum::<usize>();
        }
    }

    fn drop_waiting(&mut self) {
        self.drop_held();
        for row in self.window.drain(..).chain(self.due.drain(..)) {
            self.bytes -= row.bytes();
            self.in_hand.remove(&row.event_id());
            self.superseded.remove(&row.event_id());
        }
    }
}

#[cfg(test)]
mod model;
