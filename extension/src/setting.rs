//! Rows of webhook.setting that matter to whoever emits, read again when the configuration changed.

use crate::cached::Cached;
use crate::identity::{OWNER, acting_as, own_role};
use crate::statement::{Seen, Statement};
use pgrx::datum::Interval;
use pgrx::prelude::*;
use pgrx::{direct_function_call, pg_sys};
use std::rc::Rc;

/// How long events are kept.
pub struct Retention {
    span: Interval,
    /// As it was set.
    pub text: String,
}

impl Retention {
    /// When what is emitted now is no longer kept.
    pub fn end(&self) -> pg_sys::TimestampTz {
        let now = pg_sys::Datum::from(unsafe { pg_sys::GetCurrentTimestamp() });
        let args = [Some(now), self.span.into_datum()];
        unsafe { direct_function_call::<TimestampWithTimeZone>(pg_sys::timestamptz_pl_interval, &args) }
            .map_or(i64::MAX, i64::from)
    }
}

thread_local! {
    static KNOWN: Cached<Retention> = const { Cached::new() };
    static RETENTION: Statement = const { Statement::new(
        c"SELECT s::pg_catalog.interval, s FROM webhook.setting('retention') s", &[]) };
}

pub fn retention() -> Rc<Retention> {
    KNOWN.with(|known| known.get(load))
}

fn load() -> Retention {
    let mut fresh = None;
    acting_as(own_role(OWNER), false, || {
        RETENTION.with(|statement| {
            statement.run(Seen::Latest, &[], |row| {
                fresh = Some(Retention { span: row.must(1), text: row.must(2) });
            });
        });
    });
    fresh.unwrap_or_else(|| error!("pg_webhook: there is no setting retention"))
}
