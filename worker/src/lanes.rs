//! Order at an endpoint that asks for it. Its deliveries are in lanes, one for each key; of a lane one is under way at a
//! time, the one with the lowest event id. No I/O; `actor/endpoint/ordered.rs` is the skin around it.
//!
//! What comes from the queue is only a sign that a lane may be owed something. Which delivery is the first of its lane is
//! asked of the database (a *look*), and only while none of that lane is in hand or unrecorded, so that the answer sees
//! what became of all that was sent before.
//!
//! **Invariants.** A lane that is busy is not looked at. A sign that comes for a busy lane is not lost: the lane is looked at
//! again when it is free. A lane whose delivery has ended is always looked at again, so what waited behind it needs no sign
//! of its own.

use crate::intake::Row;
use std::collections::{HashMap, HashSet, VecDeque};
use uuid::Uuid;

/// Signs and first deliveries that are kept here; the rest waits where it comes from.
const ROOM: usize = 1_000;
/// Memory of a lane that waits to be looked at.
const SIGN_BYTES: usize = 64;

pub struct Lanes<R> {
    /// Lanes to be looked at, in the order of their signs.
    signs: VecDeque<i64>,
    signed: HashSet<i64>,
    /// Lanes that are looked at, or have a delivery in hand; true: there was a sign meanwhile.
    busy: HashMap<i64, bool>,
    /// Deliveries that may be attempted: first attempts, and those whose time has come.
    first: VecDeque<R>,
    due: VecDeque<R>,
    bytes: usize,
    /// Lanes of the deliveries under way.
    under_way: HashMap<Uuid, i64>,
    /// Counts looks, so that the answer to one given up is known.
    look: u32,
    looking: Option<Vec<i64>>,
}

impl<R: Row> Lanes<R> {
    pub fn new() -> Lanes<R> {
        Lanes {
            signs: VecDeque::new(),
            signed: HashSet::new(),
            busy: HashMap::new(),
            first: VecDeque::new(),
            due: VecDeque::new(),
            bytes: 0,
            under_way: HashMap::new(),
            look: 0,
            looking: None,
        }
    }

    /// A row from the queue. One without a lane, from before order was asked for, is kept (true); of the others only
    /// the sign is.
    pub fn take(&mut self, row: R) -> bool {
        match row.lane() {
            Some(lane) => {
                self.sign(lane);
                false
            }
            None => {
                self.push(row);
                true
            }
        }
    }

    /// True if that is news.
    pub fn sign(&mut self, lane: i64) -> bool {
        if let Some(again) = self.busy.get_mut(&lane) {
            *again = true;
            return false;
        }
        let news = self.signed.insert(lane);
        if news {
            self.signs.push_back(lane);
        }
        news
    }

    pub fn has_room(&self) -> bool {
        self.signs.len() + self.waiting() < ROOM
    }

    /// Lanes known at present: so many of the rows of a read may be no news.
    pub fn known(&self) -> usize {
        self.signs.len() + self.busy.len()
    }

    pub fn waiting(&self) -> usize {
        self.first.len() + self.due.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes + self.signs.len() * SIGN_BYTES
    }

    /// No sign, no look, nothing in hand.
    pub fn is_empty(&self) -> bool {
        self.signs.is_empty() && self.busy.is_empty() && self.waiting() == 0
    }

    /// Lanes whose first delivery is to be read, at most so many, if no look is under way.
    pub fn begin_look(&mut self, most: usize) -> Option<(u32, Vec<i64>)> {
        if self.looking.is_some() || self.signs.is_empty() || self.waiting() >= most {
            return None;
        }
        let count = (most - self.waiting()).min(self.signs.len());
        let lanes: Vec<i64> = self.signs.drain(..count).collect();
        for lane in &lanes {
            self.signed.remove(lane);
            self.busy.insert(*lane, false);
        }
        self.look = self.look.wrapping_add(1);
        self.looking = Some(lanes.clone());
        Some((self.look, lanes))
    }

    /// The first deliveries of the lanes looked at. Returns in how many seconds the first is due of those whose time
    /// has not come; the others may be attempted.
    pub fn looked(&mut self, look: u32, rows: Vec<R>) -> Option<f64> {
        let lanes = self.end_look(look)?;
        let mut in_hand = HashSet::new();
        let mut first_due: Option<f64> = None;
        for row in rows {
            let Some(lane) = row.lane() else { continue };
            match row.due_in_s() {
                Some(due_in_s) if due_in_s > 0.0 => {
                    first_due = Some(first_due.map_or(due_in_s, |first| first.min(due_in_s)));
                }
                _ if row.is_loaded() => {
                    in_hand.insert(lane);
                    self.push(row);
                }
                // No room for its body: looked at once more.
                _ => drop(self.busy.insert(lane, true)),
            }
        }
        for lane in lanes.into_iter().filter(|lane| !in_hand.contains(lane)) {
            self.free(lane, false);
        }
        first_due
    }

    pub fn look_failed(&mut self, look: u32) {
        for lane in self.end_look(look).into_iter().flatten() {
            self.free(lane, true);
        }
    }

    fn end_look(&mut self, look: u32) -> Option<Vec<i64>> {
        self.looking.take_if(|_| self.look == look)
    }

    fn push(&mut self, row: R) {
        self.bytes += row.bytes();
        if row.due_in_s().is_some() { self.due.push_back(row) } else { self.first.push_back(row) }
    }

    /// The next delivery to attempt: those whose time has come first; with `only_due`, no other.
    pub fn next(&mut self, only_due: bool) -> Option<R> {
        let row = self.due.pop_front().or_else(|| if only_due { None } else { self.first.pop_front() })?;
        self.bytes -= row.bytes();
        if let Some(lane) = row.lane() {
            self.under_way.insert(row.event_id(), lane);
        }
        Some(row)
    }

    /// Puts back a delivery that `next` gave and that was not begun.
    pub fn put_back(&mut self, row: R) {
        self.under_way.remove(&row.event_id());
        self.bytes += row.bytes();
        if row.due_in_s().is_some() { self.due.push_front(row) } else { self.first.push_front(row) }
    }

    /// What came of a delivery has been recorded: it has ended, or is tried again later.
    pub fn recorded(&mut self, event_id: Uuid, ended: bool) {
        if let Some(lane) = self.under_way.remove(&event_id) {
            self.free(lane, ended);
        }
    }

    fn free(&mut self, lane: i64, look_again: bool) {
        if self.busy.remove(&lane).unwrap_or(false) || look_again {
            self.sign(lane);
        }
    }

    /// Forgets what was not begun; it is the queue's to give again. Returns the events of the rows that were kept because
    /// they had no lane.
    pub fn drop_waiting(&mut self) -> Vec<Uuid> {
        self.signs.clear();
        self.signed.clear();
        self.looking = None;
        self.bytes = 0;
        self.busy = self.under_way.values().map(|lane| (*lane, false)).collect();
        let dropped = self.first.drain(..).chain(self.due.drain(..));
        dropped.filter(|row| row.lane().is_none()).map(|row| row.event_id()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Owed {
        event: u128,
        lane: i64,
    }

    impl Row for Owed {
        fn event_id(&self) -> Uuid {
            Uuid::from_u128(self.event)
        }
        fn xid(&self) -> u64 {
            1
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
            Some(self.lane)
        }
    }

    /// A queue, and what of it is committed, attempted and recorded, in any order; a sign for each row some time after it
    /// was committed, or none if it was forgotten.
    #[derive(Default)]
    struct World {
        queue: BTreeMap<u128, i64>,
        signs: VecDeque<Owed>,
        look: Option<(u32, Vec<i64>)>,
        answer: Option<(u32, Vec<Owed>)>,
        under_way: Vec<Owed>,
        begun: HashMap<i64, Vec<u128>>,
    }

    impl World {
        fn step(&mut self, lanes: &mut Lanes<Owed>, op: u8, pick: usize, event: u128) {
            match op {
                0..=2 => {
                    let row = Owed { event, lane: (pick % 3) as i64 };
                    self.queue.insert(event, row.lane);
                    self.signs.push_back(row);
                }
                3 | 4 => {
                    if let Some(row) = self.signs.remove(pick % self.signs.len().max(1)) {
                        lanes.take(row);
                    }
                }
                5 => self.look = lanes.begin_look(2).or(self.look.take()),
                6 => {
                    if let Some((look, asked)) = self.look.take() {
                        let first = |lane: &i64| {
                            let found = self.queue.iter().find(|(_, of)| *of == lane);
                            found.map(|(event, lane)| Owed { event: *event, lane: *lane })
                        };
                        self.answer = Some((look, asked.iter().filter_map(first).collect()));
                    }
                }
                7 => {
                    if let Some((look, rows)) = self.answer.take() {
                        lanes.looked(look, rows);
                    }
                }
                8 | 9 => {
                    if let Some(row) = lanes.next(false) {
                        assert!(self.under_way.iter().all(|other| other.lane != row.lane), "two of a lane");
                        self.under_way.push(row);
                        self.begun.entry(row.lane).or_default().push(row.event);
                    }
                }
                10 | 11 if !self.under_way.is_empty() => {
                    let row = self.under_way.swap_remove(pick % self.under_way.len());
                    self.queue.remove(&row.event);
                    lanes.recorded(row.event_id(), true);
                }
                12 if pick.is_multiple_of(20) => {
                    lanes.drop_waiting();
                    // The queue is read again.
                    self.signs =
                        self.queue.iter().map(|(event, lane)| Owed { event: *event, lane: *lane }).collect();
                }
                _ => {}
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
        #[test]
        fn each_delivery_is_begun_once_and_in_order(steps in prop::collection::vec((0u8..13, 0usize..100), 0..300)) {
            let (mut world, mut lanes) = (World::default(), Lanes::new());
            for (event, (op, pick)) in steps.into_iter().enumerate() {
                world.step(&mut lanes, op, pick, event as u128);
            }
            for _ in 0..1_000 {
                for op in 3..=10 {
                    world.step(&mut lanes, op, 0, 0);
                }
            }
            prop_assert!(world.queue.is_empty(), "still owed: {:?}", world.queue);
            prop_assert!(lanes.is_empty());
            for begun in world.begun.values() {
                prop_assert!(begun.windows(2).all(|pair| pair[0] < pair[1]), "{begun:?}");
            }
        }
    }
}
