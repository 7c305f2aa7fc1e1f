//! Whose outcomes are recorded next, of the endpoints with callbacks: one endpoint's one after another, in the order
//! they came; endpoints in turn. Those whose callbacks are slow have some of the connections, never all: the others find
//! one soon.

use std::collections::{HashMap, HashSet, VecDeque};

/// Connections for outcomes with callbacks.
pub const CONNECTIONS: usize = 4;
/// Of those, the most that slow endpoints have at a time.
const FOR_SLOW: usize = 2;
/// Most outcomes without a callback that are recorded in one transaction: a failing endpoint's retries, say.
const BATCH: usize = 100;

pub struct Calls<T> {
    waiting: HashMap<i32, VecDeque<(T, bool)>>,
    /// Endpoints with something waiting and nothing under way.
    ready: VecDeque<i32>,
    /// Endpoints with something under way, and whether it counts as slow.
    busy: HashMap<i32, bool>,
    /// Endpoints whose last callback took long.
    slow: HashSet<i32>,
}

/// What is recorded in one transaction.
pub struct Turn<T> {
    pub endpoint_id: i32,
    /// Not empty; just one if it calls.
    pub items: Vec<T>,
    pub calls: bool,
}

impl<T> Calls<T> {
    pub fn new() -> Calls<T> {
        Calls { waiting: HashMap::new(), ready: VecDeque::new(), busy: HashMap::new(), slow: HashSet::new() }
    }

    /// An outcome of the endpoint; whether it calls for a callback.
    pub fn push(&mut self, endpoint_id: i32, item: T, calls: bool) {
        let waiting = self.waiting.entry(endpoint_id).or_default();
        if waiting.is_empty() && !self.busy.contains_key(&endpoint_id) {
            self.ready.push_back(endpoint_id);
        }
        waiting.push_back((item, calls));
    }

    /// What may begin now, if there is a connection; `done` ends it.
    pub fn begin(&mut self) -> Option<Turn<T>> {
        let slow_busy = self.busy.values().filter(|slow| **slow).count();
        let may = |id: &i32| slow_busy < FOR_SLOW || !self.slow.contains(id);
        let place = self.ready.iter().position(may)?;
        let endpoint_id = self.ready.remove(place)?;
        let waiting = self.waiting.get_mut(&endpoint_id)?;
        let calls = waiting.front().is_some_and(|(_, calls)| *calls);
        let count =
            if calls { 1 } else { waiting.iter().take(BATCH).take_while(|(_, calls)| !calls).count() };
        let items = waiting.drain(..count).map(|(item, _)| item).collect();
        self.busy.insert(endpoint_id, self.slow.contains(&endpoint_id));
        Some(Turn { endpoint_id, items, calls })
    }

    /// It is recorded. `slow`: how its callback was, if there was one.
    pub fn done(&mut self, endpoint_id: i32, slow: Option<bool>) {
        self.busy.remove(&endpoint_id);
        match slow {
            Some(true) => drop(self.slow.insert(endpoint_id)),
            Some(false) => drop(self.slow.remove(&endpoint_id)),
            None => {}
        }
        match self.waiting.get(&endpoint_id) {
            Some(waiting) if !waiting.is_empty() => self.ready.push_back(endpoint_id),
            _ => drop(self.waiting.remove(&endpoint_id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What begins: the endpoint and its items.
    fn begun(calls: &mut Calls<u32>) -> Option<(i32, Vec<u32>)> {
        calls.begin().map(|turn| (turn.endpoint_id, turn.items))
    }

    #[test]
    fn one_after_another_of_an_endpoint_and_endpoints_in_turn() {
        let mut calls = Calls::new();
        for (endpoint_id, item) in [(1, 10), (1, 11), (2, 20)] {
            calls.push(endpoint_id, item, true);
        }
        assert_eq!(begun(&mut calls), Some((1, vec![10])));
        assert_eq!(begun(&mut calls), Some((2, vec![20])));
        assert_eq!(begun(&mut calls), None, "the next of 1 waits for the one before");
        calls.push(2, 21, true);
        calls.done(2, Some(false));
        calls.done(1, Some(false));
        assert_eq!(begun(&mut calls), Some((2, vec![21])));
        assert_eq!(begun(&mut calls), Some((1, vec![11])));
    }

    #[test]
    fn what_calls_for_nothing_goes_together() {
        let mut calls = Calls::new();
        for (item, calls_for) in [(1, false), (2, false), (3, true), (4, false)] {
            calls.push(7, item, calls_for);
        }
        for expected in [vec![1, 2], vec![3], vec![4]] {
            assert_eq!(begun(&mut calls), Some((7, expected)));
            calls.done(7, None);
        }
        assert!(begun(&mut calls).is_none() && calls.waiting.is_empty());
    }

    #[test]
    fn slow_ones_leave_room_for_others() {
        let mut calls = Calls::new();
        for endpoint_id in 1..=4 {
            calls.push(endpoint_id, 0, true);
            assert!(begun(&mut calls).is_some());
            calls.done(endpoint_id, Some(true));
        }
        (1..=4).for_each(|endpoint_id| calls.push(endpoint_id, 1, true));
        calls.push(5, 0, true);
        let began: Vec<i32> = std::iter::from_fn(|| begun(&mut calls)).map(|(id, _)| id).collect();
        assert_eq!(began, [1, 2, 5]);
        calls.done(1, Some(false));
        assert_eq!(begun(&mut calls), Some((3, vec![1])));
        calls.push(1, 2, true);
        assert_eq!(begun(&mut calls), Some((1, vec![2])), "it was quick the last time");
    }
}
