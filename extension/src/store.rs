//! Writing events and what is owed of them: one pass over the events, whatever their number.

use crate::cached::Cached;
use crate::identifier::Stamp;
use crate::inserter::Inserter;
use crate::leaf::{self, EVENT, EVENT_BODY};
use crate::own_table::own_table;
use crate::rendering::{self, Pinned};
use crate::subscriber::Subscriber;
use crate::variant::{self, Variant};
use crate::write_plan::Columns;
use crate::{catalogue, subscriber, wake};
use pgrx::pg_sys;
use pgrx::prelude::*;
use protocol::scheme::Message;
use std::rc::Rc;

/// An event as it is stored: immutable from here on.
pub struct NewEvent {
    pub stamp: Stamp,
    pub event_type: Rc<str>,
    pub tenant: Option<String>,
    pub key: Option<String>,
    pub body: String,
    /// When it is to be delivered; None is as soon as possible.
    pub deliver_at: Option<pg_sys::TimestampTz>,
}

static EVENT_COLUMNS: Columns<6> = [c"id", c"type", c"tenant", c"key", c"body", c"created_at"];
static BODY_COLUMNS: Columns<4> = [c"event_id", c"variant", c"endpoint_ids", c"body"];
const QUEUE_COLUMNS: Columns<11> = [
    c"endpoint_id",
    c"event_id",
    c"xid",
    c"due",
    c"signed_at",
    c"attempts",
    c"step",
    c"generation",
    c"variant",
    c"signature",
    c"lane",
];

/// Stores events and, for each endpoint that wants one, a signed delivery.
pub fn enqueue(events: &[NewEvent]) {
    store_events(events);
    let subscribers = subscriber::all();
    let mut deliveries = Deliveries::new(true);
    // The events of a statement are alike: those who want one want the next.
    let (mut asked, mut wanting) = (None, Vec::new());
    for event in events {
        let asking = Some((&*event.event_type, event.tenant.as_deref()));
        if asked != asking {
            asked = asking;
            wanting = subscribers.wanting(&event.event_type, event.tenant.as_deref());
        }
        let subject = subject(event);
        let owed = wanting.iter().copied().filter(|s| subject != Some(s.endpoint_id));
        deliveries.add(event, owed);
    }
    deliveries.finish();
}

/// Stores an event and a signed delivery to this endpoint alone.
pub fn enqueue_to(endpoint_id: i32, event: NewEvent) {
    store_events(std::slice::from_ref(&event));
    let mut deliveries = Deliveries::new(false);
    deliveries.add(&event, subscriber::all().by_id(endpoint_id).into_iter());
    deliveries.finish();
}

/// The endpoint that one of pg_webhook's own notices is about. It does not get it: what it answers could be the next one.
fn subject(event: &NewEvent) -> Option<i32> {
    let key = event.key.as_deref().filter(|_| event.event_type.starts_with("webhook."))?;
    key.strip_prefix("endpoint:")?.parse().ok()
}

fn store_events(events: &[NewEvent]) {
    let mut writer = leaf::Writer::new(&EVENT, &EVENT_COLUMNS);
    for event in events {
        writer.add(
            &event.stamp.id,
            [
                uuid(event),
                event.event_type.into_datum(),
                event.tenant.as_deref().into_datum(),
                event.key.as_deref().into_datum(),
                event.body.as_str().into_datum(),
                Some(pg_sys::Datum::from(event.stamp.timestamptz())),
            ],
        );
    }
    writer.finish();
    catalogue::note(events.iter().map(|event| &*event.event_type));
}

/// What is owed of the events that are stored.
struct Deliveries {
    /// Whether filters are asked.
    filtered: bool,
    queue: Queue,
    tasteful: Tasteful,
}

impl Deliveries {
    fn new(filtered: bool) -> Self {
        Self { filtered, queue: Queue(None), tasteful: Tasteful { pinned: None, bodies: Vec::new() } }
    }

    fn add<'s>(&mut self, event: &NewEvent, owed: impl Iterator<Item = &'s Subscriber> + Clone) {
        let mut has_tasteful = false;
        for subscriber in owed.clone() {
            if subscriber.taste.is_some() {
                has_tasteful = true;
            } else {
                self.queue.add(event, subscriber, &event.body, None);
            }
        }
        if has_tasteful {
            let concerned = owed.filter(|subscriber| subscriber.taste.is_some());
            self.tasteful.add(event, concerned, self.filtered, &mut self.queue);
        }
    }

    fn finish(self) {
        self.tasteful.finish();
        self.queue.finish();
    }
}

/// Deliveries to endpoints with a taste of their own.
struct Tasteful {
    pinned: Option<Pinned>,
    /// Bodies to store, with the event's id and their number.
    bodies: Vec<([u8; 16], i32, Variant)>,
}

impl Tasteful {
    fn add<'s>(
        &mut self,
        event: &NewEvent,
        concerned: impl Iterator<Item = &'s Subscriber>,
        filtered: bool,
        queue: &mut Queue,
    ) {
        self.pinned.get_or_insert_with(rendering::pin_code);
        let made = variant::make(event, concerned, filtered);
        for (endpoint_id, reason) in &made.skipped {
            variant::record_skipped(&event.stamp.id, *endpoint_id, reason);
        }
        for (subscriber, index) in made.wanted {
            let body = index.map_or(&event.body, |index| &made.variants[index].body);
            queue.add(event, subscriber, body, index.map(|index| index as i32 + 1));
        }
        let numbered = made.variants.into_iter().zip(1..);
        self.bodies.extend(numbered.map(|(variant, number)| (event.stamp.id, number, variant)));
    }

    fn finish(self) {
        let mut writer = leaf::Writer::new(&EVENT_BODY, &BODY_COLUMNS);
        for (event_id, number, variant) in &self.bodies {
            writer.add(
                event_id,
                [
                    pgrx::Uuid::from_bytes(*event_id).into_datum(),
                    number.into_datum(),
                    variant.endpoint_ids.clone().into_datum(),
                    variant.body.as_str().into_datum(),
                ],
            );
        }
        writer.finish();
        if let Some(pinned) = self.pinned {
            rendering::unpin(pinned);
        }
    }
}

/// webhook.queue, opened for the first row.
struct Queue(Option<Inserter<11>>);

impl Queue {
    fn add(&mut self, event: &NewEvent, subscriber: &Subscriber, body: &str, variant: Option<i32>) {
        // A delayed delivery's signature would be stale when it is sent.
        let signature = if event.deliver_at.is_none() { sign(event, subscriber, body) } else { None };
        self.0.get_or_insert_with(open_queue).add([
            subscriber.endpoint_id.into_datum(),
            uuid(event),
            Some(pg_sys::Datum::from(unsafe { pg_sys::GetTopFullTransactionId() }.value)),
            event.deliver_at.map(pg_sys::Datum::from),
            signature.as_ref().map(|_| pg_sys::Datum::from(event.stamp.timestamptz())),
            0i32.into_datum(),
            0i32.into_datum(),
            subscriber.generation.into_datum(),
            variant.into_datum(),
            signature.into_datum(),
            subscriber.ordered.then(|| pg_sys::Datum::from(lane(event.key.as_deref()))),
        ]);
    }

    fn finish(self) {
        if let Some(queue) = self.0 {
            queue.finish();
            wake::on_commit();
        }
    }
}

thread_local! {
    static QUEUE: Cached<pg_sys::Oid> = const { Cached::new() };
}

fn open_queue() -> Inserter<11> {
    let queue = QUEUE.with(|known| *known.get(|| own_table(c"queue")));
    Inserter::open(queue, &QUEUE_COLUMNS).unwrap_or_else(|| error!("pg_webhook: webhook.queue was dropped"))
}

// Not among pgrx's bindings.
unsafe extern "C-unwind" {
    fn hash_bytes_extended(bytes: *const u8, length: std::ffi::c_int, seed: u64) -> u64;
}

/// What events with the same key have in common at an ordered endpoint: as webhook.lane(), which is hashtextextended().
fn lane(key: Option<&str>) -> u64 {
    key.map_or(0, |key| unsafe { hash_bytes_extended(key.as_ptr(), key.len() as i32, 0) })
}

fn sign(event: &NewEvent, subscriber: &Subscriber, body: &str) -> Option<String> {
    let mut id = String::with_capacity(36);
    protocol::event_id::write_uuid(&mut id, &event.stamp.id);
    subscriber.sign(&Message {
        id: &id,
        attempt_id: None,
        at_ms: event.stamp.unix_us / 1000,
        body,
        event_type: &event.event_type,
        tenant: event.tenant.as_deref(),
    })
}

fn uuid(event: &NewEvent) -> Option<pg_sys::Datum> {
    pgrx::Uuid::from_bytes(event.stamp.id).into_datum()
}
