//! The tail of the queue as a state machine: which rows the next read asks for, and which endpoints' actors they go
//! to. No I/O; `actor/tailer.rs` is the thin skin around it.
//!
//! **Invariant.** A round is one or more pages of the rows that the snapshot `since` could not see, as far as the
//! snapshot of the first page sees them; only then `since` becomes that snapshot. So every committed row is in
//! exactly one round. Slots and members are let in between rounds only, so whoever is let in is offered every row
//! that `since` does not see. `intake.rs` builds on that.

use crate::snapshot::Snapshot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use uuid::Uuid;

pub struct Tail {
    since: Snapshot,
    round: Option<Round>,
    slots: i32,
    owned: BTreeSet<i32>,
    gained: BTreeSet<i32>,
    members: HashMap<i32, Member>,
    /// Members that read their own backlog.
    muted: BTreeSet<i32>,
    /// Muted members that want to be let in again.
    joining: BTreeSet<i32>,
    untold: BTreeMap<i32, Tell>,
}

struct Round {
    within: Snapshot,
    after: (i64, Uuid),
}

/// What the tail remembers of an endpoint's actor.
#[derive(Default)]
struct Member {
    /// Messages handed over; an actor may leave only when it has heard them all.
    sent: u32,
    /// Times it was told to catch up; what it asked for before it heard of the last one is void.
    catch_ups: u32,
}

/// What a member has yet to be told. A later one replaces an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// Rows that the tail's snapshot does not see are offered to you; the others are in your backlog.
    CatchUp,
    /// The same, after the slot was lost: others may have sent what you had not begun.
    Rejoin,
    /// Rows could not be handed over because your mailbox was full: they are in your backlog. You are muted.
    Lagged,
    /// Your slot is given up: finish what is under way, then leave.
    Retire,
}

/// Arguments of webhook.worker_tail(); see sql/worker/tail.sql.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    pub owned: Option<Vec<i32>>,
    pub muted: Vec<i32>,
    pub since: String,
    pub within: Option<String>,
    pub after_xid: Option<i64>,
    pub after_event: Option<Uuid>,
}

impl Tail {
    pub fn new(since: Snapshot, slots: i32) -> Tail {
        Tail {
            since,
            round: None,
            slots,
            owned: BTreeSet::new(),
            gained: BTreeSet::new(),
            members: HashMap::new(),
            muted: BTreeSet::new(),
            joining: BTreeSet::new(),
            untold: BTreeMap::new(),
        }
    }

    /// Begins anew after the connection or all slots were lost. Members stay: what they have under way goes on.
    pub fn reset(&mut self, since: Snapshot, slots: i32) {
        self.since = since;
        self.slots = slots;
        self.round = None;
        self.disown_all();
    }

    /// Nothing is read until slots are gained again. Members wait for what becomes of them.
    pub fn disown_all(&mut self) {
        self.owned.clear();
        self.gained.clear();
    }

    pub fn owned(&self) -> &BTreeSet<i32> {
        &self.owned
    }

    /// From the next round on, rows of these slots are read.
    pub fn gain(&mut self, slots: &[i32]) {
        self.gained.extend(slots);
    }

    /// Rows of these slots are read no longer, and their members retire.
    pub fn lose(&mut self, slots: &[i32]) {
        for slot in slots {
            self.owned.remove(slot);
            self.gained.remove(slot);
        }
        self.retire_strangers();
    }

    /// Members of slots that are not owned retire.
    pub fn retire_strangers(&mut self) {
        let strangers: Vec<i32> = self.members.keys().copied().filter(|id| !self.owns(*id)).collect();
        self.untold.extend(strangers.into_iter().map(|id| (id, Tell::Retire)));
    }

    pub fn slot_of(&self, endpoint_id: i32) -> i32 {
        endpoint_id % self.slots
    }

    /// Whether the endpoint's slot is owned, or will be from the next round on.
    pub fn owns(&self, endpoint_id: i32) -> bool {
        let slot = self.slot_of(endpoint_id);
        self.owned.contains(&slot) || self.gained.contains(&slot)
    }

    /// Lets in the members that asked to join, and the slots gained; returns the slots. Whoever reads the backlog of
    /// either from now on misses nothing. Within a round nothing happens.
    pub fn between_rounds(&mut self) -> Vec<i32> {
        if self.round.is_some() {
            return Vec::new();
        }
        for endpoint_id in std::mem::take(&mut self.joining) {
            self.muted.remove(&endpoint_id);
            let tell = self.untold.entry(endpoint_id).or_insert(Tell::CatchUp);
            if *tell == Tell::Lagged {
                *tell = Tell::CatchUp;
            }
        }
        let gained = std::mem::take(&mut self.gained);
        if !gained.is_empty() {
            for endpoint_id in self.members.keys().filter(|id| gained.contains(&(*id % self.slots))) {
                self.muted.remove(endpoint_id);
                self.untold.insert(*endpoint_id, Tell::Rejoin);
            }
            self.owned.extend(&gained);
        }
        gained.into_iter().collect()
    }

    pub fn query(&self) -> Query {
        Query {
            owned: (self.owned.len() < self.slots as usize).then(|| self.owned.iter().copied().collect()),
            muted: self.muted.iter().copied().collect(),
            since: self.since.to_string(),
            within: self.round.as_ref().map(|round| round.within.to_string()),
            after_xid: self.round.as_ref().map(|round| round.after.0),
            after_event: self.round.as_ref().map(|round| round.after.1),
        }
    }

    /// Takes note of a page: the snapshot it was read with and, if it was full, its last row's place. True when the
    /// round is over.
    pub fn page_read(&mut self, snapshot: Snapshot, full_at: Option<(i64, Uuid)>) -> bool {
        let within = self.round.take().map_or(snapshot, |round| round.within);
        match full_at {
            Some(after) => self.round = Some(Round { within, after }),
            None => self.since = within,
        }
        self.round.is_none()
    }

    /// A new member. It is offered every row that `since` does not see.
    pub fn enter(&mut self, endpoint_id: i32) {
        self.members.insert(endpoint_id, Member::default());
        self.muted.remove(&endpoint_id);
        self.joining.remove(&endpoint_id);
        self.untold.remove(&endpoint_id);
    }

    pub fn is_member(&self, endpoint_id: i32) -> bool {
        self.members.contains_key(&endpoint_id)
    }

    pub fn has_member_in(&self, slots: &[i32]) -> bool {
        self.members.keys().any(|id| slots.contains(&(id % self.slots)))
    }

    /// Whether rows of this endpoint are to be handed over now.
    pub fn hears(&self, endpoint_id: i32) -> bool {
        self.owned.contains(&self.slot_of(endpoint_id)) && !self.muted.contains(&endpoint_id)
    }

    /// Rows were handed to a member.
    pub fn handed(&mut self, endpoint_id: i32) {
        if let Some(member) = self.members.get_mut(&endpoint_id) {
            member.sent += 1;
        }
    }

    /// Rows could not be handed over: the member's mailbox is full.
    pub fn refused(&mut self, endpoint_id: i32) {
        self.muted.insert(endpoint_id);
        match self.untold.get(&endpoint_id) {
            // Told of the one, it will be told of the other; see `told`.
            Some(Tell::Retire | Tell::Rejoin | Tell::CatchUp) => {}
            _ => drop(self.untold.insert(endpoint_id, Tell::Lagged)),
        }
    }

    /// The member reads its own backlog from now on.
    pub fn mute(&mut self, endpoint_id: i32, catch_ups: u32) {
        if !self.is_current(endpoint_id, catch_ups) {
            return;
        }
        self.muted.insert(endpoint_id);
        self.joining.remove(&endpoint_id);
        if self.untold.get(&endpoint_id) == Some(&Tell::CatchUp) {
            self.untold.remove(&endpoint_id);
        }
    }

    /// The member has read its backlog to the end and asks to be let in again.
    pub fn join(&mut self, endpoint_id: i32, catch_ups: u32) {
        if self.is_current(endpoint_id, catch_ups) {
            self.joining.insert(endpoint_id);
        }
    }

    /// False for a request made before the member heard that it should catch up.
    fn is_current(&self, endpoint_id: i32, catch_ups: u32) -> bool {
        self.members.get(&endpoint_id).is_some_and(|member| member.catch_ups == catch_ups)
    }

    /// The member is owed something. A muted one finds it by itself.
    pub fn catch_up(&mut self, endpoint_id: i32) {
        if !self.muted.contains(&endpoint_id) {
            self.untold.entry(endpoint_id).or_insert(Tell::CatchUp);
        }
    }

    /// Who has to be told what.
    pub fn untold(&self) -> Vec<(i32, Tell)> {
        self.untold.iter().map(|(endpoint_id, tell)| (*endpoint_id, *tell)).collect()
    }

    pub fn told(&mut self, endpoint_id: i32, tell: Tell) {
        self.untold.remove(&endpoint_id);
        let Some(member) = self.members.get_mut(&endpoint_id) else { return };
        member.sent += 1;
        if matches!(tell, Tell::CatchUp | Tell::Rejoin) {
            member.catch_ups += 1;
            if self.muted.contains(&endpoint_id) {
                self.untold.insert(endpoint_id, Tell::Lagged);
            }
        }
    }

    /// Lets a member go if it has heard everything it was sent.
    pub fn leave(&mut self, endpoint_id: i32, heard: u32) -> bool {
        let more = match self.untold.get(&endpoint_id) {
            None | Some(Tell::Retire) => false,
            Some(_) => true,
        };
        let may = !more && self.members.get(&endpoint_id).is_some_and(|member| member.sent == heard);
        if may {
            self.members.remove(&endpoint_id);
            self.muted.remove(&endpoint_id);
            self.joining.remove(&endpoint_id);
            self.untold.remove(&endpoint_id);
        }
        may
    }
}
