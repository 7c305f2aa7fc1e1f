//! `webhook_emit()`: an event said by the application itself.

use crate::identifier::{self, Stamp};
use crate::identity::{OWNER, acting_as, own_role};
use crate::statement::{Seen, Statement};
use crate::store::{self, NewEvent};
use crate::{catalogue, guc, jsonb, refuse, setting};
use pgrx::prelude::*;
use pgrx::{pg_getarg, pg_getarg_datum, pg_sys};
use protocol::event_type::EventType;
use sha2::{Digest, Sha256};

/// Longest tenant and idempotency key, in bytes: they stand in indexes and headers.
const NAME_BYTES_MAX: usize = 256;
/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// webhook_emit(event_type text, data jsonb, tenant text, key text, deliver_at timestamptz, idempotency_key text)
/// returns the event's id, the one of the first event if the idempotency key is known, or NULL while suppressed.
#[pg_extern(sql = false)]
fn webhook_emit(fcinfo: pg_sys::FunctionCallInfo) -> Option<pgrx::Uuid> {
    let (event_type, tenant, key, deliver_at, idempotency_key) = unsafe {
        (
            pg_getarg::<&str>(fcinfo, 0),
            pg_getarg::<String>(fcinfo, 2),
            pg_getarg::<String>(fcinfo, 3),
            pg_getarg::<TimestampWithTimeZone>(fcinfo, 4),
            pg_getarg::<&str>(fcinfo, 5),
        )
    };
    let event_type = check_type(event_type);
    let Some(data) = (unsafe { pg_getarg_datum(fcinfo, 1) }) else {
        refuse("data is NULL", "Give a jsonb value; for an event without data say '{}' or 'null'.");
    };
    check_length("tenant", tenant.as_deref(), NAME_BYTES_MAX);
    check_length("key", key.as_deref(), KEY_BYTES_MAX);
    check_length("idempotency_key", idempotency_key, NAME_BYTES_MAX);
    if guc::SUPPRESS.get() {
        return None;
    }
    let deliver_at = deliver_at.and_then(check_deliver_at);
    let data = text_of(data);
    let stamp = identifier::next();
    if let Some(idempotency_key) = idempotency_key
        && let Some(first) = claim(idempotency_key, tenant.as_deref(), event_type, &data, stamp)
    {
        return Some(first);
    }
    let body = render(stamp, event_type, &data, None, None);
    store::enqueue(&[NewEvent { stamp, event_type: event_type.into(), tenant, key, body, deliver_at }]);
    Some(pgrx::Uuid::from_bytes(stamp.id))
}

/// webhook.emit_to(endpoint_id int, event_type text, data jsonb, tenant text) returns the event's id, or NULL while
/// suppressed. Called with checked arguments.
#[pg_extern(sql = false)]
fn emit_to(fcinfo: pg_sys::FunctionCallInfo) -> Option<pgrx::Uuid> {
    let (endpoint_id, event_type, data, tenant) = unsafe {
        (
            pg_getarg::<i32>(fcinfo, 0)?,
            pg_getarg::<&str>(fcinfo, 1)?,
            pg_getarg_datum(fcinfo, 2)?,
            pg_getarg::<String>(fcinfo, 3),
        )
    };
    if guc::SUPPRESS.get() {
        return None;
    }
    let data = text_of(data);
    let stamp = identifier::next();
    let body = render(stamp, event_type, &data, None, None);
    let event = NewEvent { stamp, event_type: event_type.into(), tenant, key: None, body, deliver_at: None };
    store::enqueue_to(endpoint_id, event);
    Some(pgrx::Uuid::from_bytes(stamp.id))
}

/// Renders the body of an event, once: these bytes are stored, signed and sent.
pub fn render(
    stamp: Stamp,
    event_type: &str,
    data: &str,
    previous: Option<&str>,
    changed: Option<&str>,
) -> String {
    catalogue::check(event_type, data);
    let mut id = String::with_capacity(36);
    protocol::event_id::write_uuid(&mut id, &stamp.id);
    let mut timestamp = String::with_capacity(32);
    protocol::envelope::write_timestamp_utc(&mut timestamp, stamp.unix_us);
    let mut body = String::with_capacity(data.len() + previous.map_or(0, str::len) + 160);
    protocol::envelope::write_body(&mut body, &id, event_type, &timestamp, data, previous, changed);
    let limit = guc::MAX_BODY_BYTES.get() as usize;
    if body.len() > limit {
        crate::raise(
            pgrx::PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!(
                "body of event {event_type} has {} bytes, more than pg_webhook.max_body_bytes ({limit})",
                body.len()
            ),
            "Send a reference instead of the content, leave columns out (omit), or have the limit raised.",
        );
    }
    body
}

fn check_type(event_type: Option<&str>) -> &str {
    let Some(event_type) = event_type else {
        refuse("event_type is NULL", "Give dotted words such as order.paid.");
    };
    match EventType::try_new(event_type) {
        Err(invalid) => refuse(invalid.to_string(), "Use dotted words such as order.paid."),
        Ok(valid) if valid.is_reserved() && unsafe { pg_sys::GetUserId() } != own_role(OWNER) => refuse(
            format!("event_type \"{event_type}\" is not valid: webhook.* is reserved"),
            "Types that begin with webhook. are pg_webhook's own notices; choose another first word.",
        ),
        Ok(_) => event_type,
    }
}

fn check_length(name: &str, value: Option<&str>, max: usize) {
    if let Some(value) = value
        && (value.is_empty() || value.len() > max)
    {
        refuse(
            format!("{name} has {} bytes: it has 1 to {max}", value.len()),
            format!("Leave {name} out, or give a short identifier."),
        );
    }
}

thread_local! {
    static CLAIM_KEY: Statement = const { Statement::new(
        c"INSERT INTO webhook.idempotency AS i (key, tenant, event_id, type, digest, expires_at) \
          VALUES ($1, $2, $3, $4, $5, $6) \
          ON CONFLICT (key, (COALESCE(tenant, ''::pg_catalog.text)), ((tenant IS NULL))) DO UPDATE \
          SET event_id = excluded.event_id, type = excluded.type, digest = excluded.digest, expires_at = excluded.expires_at \
          WHERE i.expires_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp() RETURNING i.event_id",
        &[pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::BYTEAOID, pg_sys::TIMESTAMPTZOID]) };
    static FIRST_EVENT: Statement = const { Statement::new(
        c"SELECT i.event_id, i.type, i.digest FROM webhook.idempotency i \
          WHERE i.key OPERATOR(pg_catalog.=) $1 \
            AND (i.tenant OPERATOR(pg_catalog.=) $2 OR (i.tenant IS NULL AND $2 IS NULL))",
        &[pg_sys::TEXTOID, pg_sys::TEXTOID]) };
}

/// A time in the past is as soon as possible; one beyond the retention could never be delivered.
fn check_deliver_at(deliver_at: TimestampWithTimeZone) -> Option<pg_sys::TimestampTz> {
    let at = i64::from(deliver_at);
    if at == i64::MAX || at == i64::MIN {
        refuse("deliver_at is infinite", "Give a time within the retention.");
    }
    let retention = setting::retention();
    if at > retention.end() {
        refuse(
            format!("deliver_at {deliver_at} is beyond the retention of {}", retention.text),
            "Events are kept for the setting retention; emit later, or have it raised.",
        );
    }
    (at > unsafe { pg_sys::GetCurrentTimestamp() }).then_some(at)
}

/// Takes the idempotency key for this event. Some(id) is the event that took it first.
fn claim(key: &str, tenant: Option<&str>, event_type: &str, data: &str, stamp: Stamp) -> Option<pgrx::Uuid> {
    let digest = Sha256::digest(data.as_bytes()).to_vec();
    let window = setting::idempotency_window();
    acting_as(own_role(OWNER), false, || {
        loop {
            let mut claimed = false;
            CLAIM_KEY.with(|statement| {
                let args = [
                    key.into_datum(),
                    tenant.into_datum(),
                    pgrx::Uuid::from_bytes(stamp.id).into_datum(),
                    event_type.into_datum(),
                    digest.clone().into_datum(),
                    Some(pg_sys::Datum::from(window.end())),
                ];
                statement.run(Seen::Transaction, &args, |_| claimed = true);
            });
            if claimed {
                return None;
            }
            let mut first = None;
            FIRST_EVENT.with(|statement| {
                statement.run(Seen::Latest, &[key.into_datum(), tenant.into_datum()], |row| {
                    first = Some((row.must::<pgrx::Uuid>(1), row.must::<String>(2), row.must::<Vec<u8>>(3)));
                });
            });
            // None: it expired and was cleaned away between the two statements.
            if let Some((event_id, first_type, first_digest)) = first {
                if first_type != event_type || first_digest != digest {
                    refuse(
                        format!(
                            "idempotency_key \"{key}\" was used for another event: {event_id} of type {first_type}"
                        ),
                        "The same key stands for the same type and data; use a key of its own for each event.",
                    );
                }
                return Some(event_id);
            }
        }
    })
}

fn text_of(data: pg_sys::Datum) -> String {
    let mut text = String::new();
    unsafe { jsonb::write(&mut text, data) };
    text
}
