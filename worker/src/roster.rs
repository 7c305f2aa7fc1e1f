//! The endpoints' actors of this process: starts them where there is work, hands them rows and configurations, and
//! remembers when those that left have to be started again.

use crate::actor::caller::Caller;
use crate::actor::endpoint::{Endpoint, Seed, Start};
use crate::actor::reader::Reader;
use crate::actor::recorder::Recorder;
use crate::actor::tailer::Tailer;
use crate::config::{EndpointConfig, Status};
use crate::gate::Gate;
use crate::http::Http;
use crate::lease::Epoch;
use crate::message::{Changed, Configure, Offer, Told};
use crate::owed::Owed;
use crate::shared::Shared;
use crate::tail::Tail;
use actix::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// An arbiter with what endpoints need there.
pub struct Place {
    pub arbiter: ArbiterHandle,
    pub http: Http,
    pub gate: Gate,
    pub reader: Addr<Reader>,
}

pub struct Roster {
    pub tail: Tail,
    shared: Arc<Shared>,
    places: Vec<Place>,
    recorder: Addr<Recorder>,
    caller: Addr<Caller>,
    tailer: Addr<Tailer>,
    epoch: Epoch,
    /// When slots were taken over from workers that ended without a word.
    takeovers: HashMap<i32, Instant>,
    actors: HashMap<i32, Addr<Endpoint>>,
    /// Kept while the slot is owned, so that an actor started again need not wait for it.
    configs: HashMap<i32, Arc<EndpointConfig>>,
    /// Configurations to be read.
    unread: BTreeSet<i32>,
    /// Actors that have yet to be handed theirs.
    unsent: BTreeSet<i32>,
    /// Those of them that are to read again what they are owed.
    recalled: BTreeSet<i32>,
    alarms: BTreeSet<(Instant, i32)>,
    alarm_of: HashMap<i32, Instant>,
}

impl Roster {
    pub fn new(
        tail: Tail,
        shared: Arc<Shared>,
        places: Vec<Place>,
        recorder: Addr<Recorder>,
        caller: Addr<Caller>,
        tailer: Addr<Tailer>,
    ) -> Roster {
        Roster {
            tail,
            shared,
            places,
            recorder,
            caller,
            tailer,
            epoch: 0,
            takeovers: HashMap::new(),
            actors: HashMap::new(),
            configs: HashMap::new(),
            unread: BTreeSet::new(),
            unsent: BTreeSet::new(),
            recalled: BTreeSet::new(),
            alarms: BTreeSet::new(),
            alarm_of: HashMap::new(),
        }
    }

    pub fn set_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// These slots were taken, some of them over from workers that ended without a word.
    pub fn took(&mut self, slots: &[i32], abandoned: &[i32]) {
        let now = Instant::now();
        self.takeovers.retain(|slot, _| !slots.contains(slot));
        self.takeovers.extend(abandoned.iter().map(|slot| (*slot, now)));
    }

    fn takeover(&self, endpoint_id: i32) -> Option<Instant> {
        self.takeovers.get(&self.tail.slot_of(endpoint_id)).copied()
    }

    /// Hands rows of the tail to their endpoints, all of one endpoint at once.
    pub fn hand_over(&mut self, rows: Vec<Owed>) {
        let mut by_endpoint: HashMap<i32, Vec<Owed>> = HashMap::new();
        for row in rows {
            by_endpoint.entry(row.endpoint_id).or_default().push(row);
        }
        for (endpoint_id, rows) in by_endpoint {
            if !self.tail.hears(endpoint_id) {
                continue;
            }
            match self.actors.get(&endpoint_id) {
                None => self.start(endpoint_id, Start::Live(rows)),
                Some(actor) => match actor.try_send(Offer(rows)) {
                    Ok(()) => self.tail.handed(endpoint_id),
                    Err(_) => self.tail.refused(endpoint_id),
                },
            }
        }
    }

    /// The endpoint is owed something from before: as soon as possible, or from `due` on.
    pub fn owed(&mut self, endpoint_id: i32, ready: bool, due: Option<Instant>) {
        if self.tail.is_member(endpoint_id) {
            return self.tail.catch_up(endpoint_id);
        }
        if let Some(due) = due {
            self.set_alarm(endpoint_id, due);
        }
        if ready {
            self.start(endpoint_id, Start::CatchUp);
        }
    }

    fn start(&mut self, endpoint_id: i32, start: Start) {
        let place = &self.places[endpoint_id.unsigned_abs() as usize % self.places.len()];
        let config = self.configs.get(&endpoint_id).cloned();
        if config.is_none() {
            self.unread.insert(endpoint_id);
        }
        let due = self.alarm_of.remove(&endpoint_id);
        if let Some(due) = due {
            self.alarms.remove(&(due, endpoint_id));
        }
        let seed = Seed {
            endpoint_id,
            epoch: self.epoch,
            takeover: self.takeover(endpoint_id),
            config,
            due,
            start,
            shared: self.shared.clone(),
            http: place.http.clone(),
            gate: place.gate.clone(),
            reader: place.reader.clone(),
            recorder: self.recorder.clone(),
            caller: self.caller.clone(),
            tailer: self.tailer.clone(),
        };
        let actor = Endpoint::start_in_arbiter(&place.arbiter, move |_| Endpoint::new(seed));
        self.actors.insert(endpoint_id, actor);
        self.tail.enter(endpoint_id);
        self.shared.metrics.endpoints.set(self.actors.len() as i64);
    }

    /// Lets an actor go that has heard everything; it is started again at `due`, or when there are rows.
    pub fn leave(&mut self, endpoint_id: i32, heard: u32, due: Option<Instant>) -> bool {
        if self.unsent.contains(&endpoint_id) || !self.tail.leave(endpoint_id, heard) {
            return false;
        }
        self.actors.remove(&endpoint_id);
        if let Some(due) = due.filter(|_| self.tail.owns(endpoint_id)) {
            self.set_alarm(endpoint_id, due);
        }
        self.shared.metrics.endpoints.set(self.actors.len() as i64);
        true
    }

    fn set_alarm(&mut self, endpoint_id: i32, due: Instant) {
        if let Some(earlier) = self.alarm_of.insert(endpoint_id, due) {
            self.alarms.remove(&(earlier, endpoint_id));
        }
        self.alarms.insert((due, endpoint_id));
    }

    pub fn next_alarm(&self) -> Option<Instant> {
        self.alarms.first().map(|(due, _)| *due)
    }

    /// Starts the actors whose time has come.
    pub fn ring(&mut self, now: Instant) {
        while let Some((due, endpoint_id)) = self.alarms.first().copied().filter(|(due, _)| *due <= now) {
            self.alarms.remove(&(due, endpoint_id));
            self.start(endpoint_id, Start::Live(Vec::new()));
        }
    }

    /// Forgets what belongs to slots that are not owned.
    pub fn forget_strangers(&mut self) {
        let Roster { tail, alarms, alarm_of, configs, .. } = self;
        let owned = |endpoint_id: &i32| tail.owns(*endpoint_id);
        alarms.retain(|(_, endpoint_id)| owned(endpoint_id));
        alarm_of.retain(|endpoint_id, _| owned(endpoint_id));
        configs.retain(|endpoint_id, _| owned(endpoint_id));
    }

    /// Tells members what they have to be told, as far as their mailboxes have room. False if some had none.
    pub fn tell(&mut self) -> bool {
        let mut all = true;
        for (endpoint_id, tell) in self.tail.untold() {
            let (epoch, takeover) = (self.epoch, self.takeover(endpoint_id));
            let told =
                self.actors.get(&endpoint_id).map(|actor| actor.try_send(Told { tell, epoch, takeover }));
            match told {
                Some(Err(_)) => all = false,
                _ => self.tail.told(endpoint_id, tell),
            }
        }
        let configs = &self.configs;
        let (actors, tail, recalled) = (&self.actors, &mut self.tail, &mut self.recalled);
        self.unsent.retain(|endpoint_id| {
            let (Some(actor), Some(config)) = (actors.get(endpoint_id), configs.get(endpoint_id)) else {
                return false;
            };
            let configure = Configure { config: config.clone(), recall: recalled.contains(endpoint_id) };
            let sent = actor.try_send(configure).is_ok();
            if sent {
                recalled.remove(endpoint_id);
                tail.handed(*endpoint_id);
            }
            !sent
        });
        all && self.unsent.is_empty()
    }

    /// Configurations that have to be read now, at most so many. One that changes while it is read has to be read again.
    pub fn take_unread(&mut self, most: usize) -> Vec<i32> {
        let last = self.unread.iter().copied().nth(most);
        let later = last.map_or_else(BTreeSet::new, |last| self.unread.split_off(&last));
        std::mem::replace(&mut self.unread, later).into_iter().collect()
    }

    pub fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Has configurations read again, and has actors read again what they are owed, where either may have changed.
    pub fn changed(&mut self, change: Changed) {
        match change {
            Changed::Endpoint(endpoint_id) if !self.actors.contains_key(&endpoint_id) => {
                drop(self.configs.remove(&endpoint_id))
            }
            Changed::Endpoint(endpoint_id) => {
                self.unread.insert(endpoint_id);
                self.recalled.insert(endpoint_id);
            }
            Changed::Configs | Changed::Unheard => {
                self.configs.retain(|endpoint_id, _| self.actors.contains_key(endpoint_id));
                self.unread.extend(self.actors.keys());
                if matches!(change, Changed::Unheard) {
                    self.recalled.extend(self.actors.keys());
                }
            }
        }
    }

    /// Configurations as they are now; one asked for and not found was deleted.
    pub fn configured(&mut self, asked: &[i32], found: Vec<EndpointConfig>) {
        let mut found: HashMap<i32, EndpointConfig> =
            found.into_iter().map(|config| (config.id, config)).collect();
        // Of one that has left meanwhile a change would not be heard of.
        for endpoint_id in asked.iter().filter(|endpoint_id| self.actors.contains_key(endpoint_id)) {
            let config = found.remove(endpoint_id).unwrap_or_else(|| EndpointConfig::deleted(*endpoint_id));
            if let Err(problem) = &config.call
                && config.status != Status::Deleted
                && self.configs.get(endpoint_id).is_none_or(|before| before.call.is_ok())
            {
                tracing::warn!(endpoint_id, "endpoint can't be called: {problem}");
            }
            self.configs.insert(*endpoint_id, Arc::new(config));
            self.unsent.insert(*endpoint_id);
        }
    }
}
