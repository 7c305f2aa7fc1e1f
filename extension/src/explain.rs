//! Who gets an event and who does not, by the rules that enqueueing goes by; and what an endpoint is sent of an event
//! that was stored before.

use crate::identifier::{POSTGRES_EPOCH_US, Stamp};
use crate::identity::{OWNER, acting_as, own_role};
use crate::statement::{Seen, Statement};
use crate::store::NewEvent;
use crate::subscriber::{self, Subscriber};
use crate::{rendering, subtransaction, variant};
use pgrx::iter::TableIterator;
use pgrx::pg_sys;
use pgrx::prelude::*;

thread_local! {
    static STORED: Statement = const { Statement::new(
        c"SELECT e.type, e.tenant, e.key, e.body, e.created_at FROM webhook.event e WHERE e.id OPERATOR(pg_catalog.=) $1",
        &[pg_sys::UUIDOID]) };
    static SENT: Statement = const { Statement::new(
        c"SELECT b.variant FROM webhook.event_body b WHERE b.event_id OPERATOR(pg_catalog.=) $1 \
            AND $2 OPERATOR(pg_catalog.=) ANY (b.endpoint_ids) \
          UNION ALL SELECT NULL FROM webhook.attempt a WHERE a.event_id OPERATOR(pg_catalog.=) $1 \
            AND a.endpoint_id OPERATOR(pg_catalog.=) $2 AND a.number OPERATOR(pg_catalog.>) 0 \
          LIMIT 1", &[pg_sys::UUIDOID, pg_sys::INT4OID]) };
    static KEEP: Statement = const { Statement::new(
        c"INSERT INTO webhook.event_body (event_id, variant, endpoint_ids, body) \
          SELECT $1, COALESCE(pg_catalog.max(b.variant), 0) OPERATOR(pg_catalog.+) 1, ARRAY[$2], $3 \
          FROM webhook.event_body b WHERE b.event_id OPERATOR(pg_catalog.=) $1 RETURNING variant",
        &[pg_sys::UUIDOID, pg_sys::INT4OID, pg_sys::TEXTOID]) };
}

/// The event as it was stored.
fn stored(event_id: pgrx::Uuid) -> Option<NewEvent> {
    let mut event = None;
    acting_as(own_role(OWNER), false, || {
        STORED.with(|statement| {
            statement.run(Seen::Latest, &[event_id.into_datum()], |row| {
                let created_at = i64::from(row.must::<TimestampWithTimeZone>(5));
                event = Some(NewEvent {
                    stamp: Stamp { id: *event_id.as_bytes(), unix_us: created_at + POSTGRES_EPOCH_US },
                    event_type: row.must::<String>(1).into(),
                    tenant: row.get(2),
                    key: row.get(3),
                    body: row.must(4),
                    deliver_at: None,
                });
            });
        });
    });
    event
}

/// The number of the body an endpoint is to be sent of an event, when it is owed again: what it was sent before, or what
/// it is sent as it is configured now. NULL: the event's own. 0: its transform does not give it the event.
#[pg_extern(sql = false)]
fn variant_for(event_id: pgrx::Uuid, endpoint_id: i32) -> Option<i32> {
    let mut sent = None;
    let args = [event_id.into_datum(), endpoint_id.into_datum()];
    acting_as(own_role(OWNER), false, || {
        SENT.with(|statement| statement.run(Seen::Latest, &args, |row| sent = Some(row.get::<i32>(1))));
    });
    if let Some(variant) = sent {
        return variant;
    }
    let subscribers = subscriber::all();
    let subscriber = subscribers.by_id(endpoint_id)?;
    subscriber.taste.as_ref()?.shape.as_ref()?;
    let event = stored(event_id)?;
    let pinned = rendering::pin_code();
    let made = variant::make(&event, [subscriber].into_iter(), false);
    rendering::unpin(pinned);
    for (_, reason) in &made.skipped {
        variant::record_skipped(&event.stamp.id, endpoint_id, reason);
    }
    let Some(variant) = made.variants.first() else { return Some(0) };
    let args = [event_id.into_datum(), endpoint_id.into_datum(), variant.body.as_str().into_datum()];
    let mut number = None;
    acting_as(own_role(OWNER), false, || {
        KEEP.with(|statement| statement.run(Seen::Transaction, &args, |row| number = row.get(1)));
    });
    number
}

/// Of each endpoint, as it is configured now: whether it wants the event, and which rule says so.
#[pg_extern(sql = false)]
fn explain(
    event_id: pgrx::Uuid,
) -> TableIterator<'static, (name!(endpoint_id, i32), name!(wants, bool), name!(reason, String))> {
    let Some(event) = stored(event_id) else { return TableIterator::new(Vec::new()) };
    let pinned = rendering::pin_code();
    let verdicts: Vec<_> = subscriber::all()
        .iter()
        .map(|subscriber| {
            let (wants, reason) = verdict(&event, subscriber);
            (subscriber.endpoint_id, wants, reason)
        })
        .collect();
    rendering::unpin(pinned);
    TableIterator::new(verdicts)
}

fn verdict(event: &NewEvent, subscriber: &Subscriber) -> (bool, String) {
    let Some(pattern) = subscriber.pattern_of(&event.event_type) else {
        let patterns: Vec<String> = subscriber.patterns().iter().map(ToString::to_string).collect();
        return (false, format!("event type {} matches none of {}", event.event_type, patterns.join(", ")));
    };
    let tenant = event.tenant.as_deref();
    if !subscriber.takes_tenant(tenant) {
        let name = |tenant: Option<&str>| tenant.map_or("none".to_owned(), |tenant| format!("\"{tenant}\""));
        return (
            false,
            format!("its tenant is {}, the event's is {}", name(subscriber.tenant()), name(tenant)),
        );
    }
    let matches = format!("event type {} matches {pattern}", event.event_type);
    if subscriber.taste.is_none() {
        return (true, matches);
    }
    match subtransaction::run(|| variant::make(event, [subscriber].into_iter(), true)) {
        Ok(made) if !made.wanted.is_empty() => (true, matches),
        Ok(made) => {
            let declined = made.declined.into_iter().map(|(_, why)| why.to_owned());
            let why = declined.chain(made.skipped.into_iter().map(|(_, problem)| problem)).next();
            (false, why.unwrap_or_default())
        }
        Err(error) => (false, variant::message(&error)),
    }
}
