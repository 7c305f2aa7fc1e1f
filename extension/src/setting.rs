//! Rows of webhook.setting that matter to whoever emits, read again when the configuration changed.

use crate::cached::Cached;
use crate::identity::{OWNER, acting_as, own_role};
use crate::statement::{Seen, Statement};
use pgrx::datum::Interval;
use pgrx::prelude::*;
use pgrx::{direct_function_call, pg_sys};
use std::rc::Rc;

/// How long something lasts.
pub struct Span {
    span: Interval,
    /// As it was set.
    pub text: String,
}

impl Span {
    /// When it is over if it begins now, by the clock.
    pub fn end(&self) -> pg_sys::TimestampTz {
        let now = pg_sys::Datum::from(unsafe { pg_sys::GetCurrentTimestamp() });
        let args = [Some(now), self.span.into_datum()];
        unsafe { direct_function_call::<TimestampWithTimeZone>(pg_sys::timestamptz_pl_interval, &args) }
            .map_or(i64::MAX, i64::from)
    }
}

thread_local! {
    static RETENTION: Cached<Span> = const { Cached::new() };
    static IDEMPOTENCY_WINDOW: Cached<Span> = const { Cached::new() };
    static SETTING: Statement = const { Statement::new(
        c"SELECT s::pg_catalog.interval, s FROM webhook.setting($1) s", &[pg_sys::TEXTOID]) };
}

/// How long events are kept.
pub fn retention() -> Rc<Span> {
    RETENTION.with(|known| known.get(|| load("retention")))
}

/// How long an idempotency key is remembered.
pub fn idempotency_window() -> Rc<Span> {
    IDEMPOTENCY_WINDOW.with(|known| known.get(|| load("idempotency_window")))
}

fn load(name: &str) -> Span {
    let mut fresh = None;
    acting_as(own_role(OWNER), false, || {
        SETTING.with(|statement| {
            statement.run(Seen::Latest, &[name.into_datum()], |row| {
                fresh = Some(Span { span: row.must(1), text: row.must(2) });
            });
        });
    });
    fresh.unwrap_or_else(|| error!("pg_webhook: there is no setting {name}"))
}
