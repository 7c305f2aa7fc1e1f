//! Transforms: functions jsonb → jsonb that make an endpoint's body of an event's, run as whoever configured them.

use crate::body_function::{Purpose, Resolved, configurer, resolve};
use crate::identity::acting_as;
use crate::statement::OwnedPlan;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::cell::OnceCell;

pub struct Transform {
    pub name: String,
    configured_by: String,
    resolved: OnceCell<Resolved>,
    plan: OwnedPlan,
}

impl Transform {
    pub fn new(name: String, configured_by: String) -> Self {
        Self { name, configured_by, resolved: OnceCell::new(), plan: OwnedPlan::new() }
    }

    /// The body to send, as JSON text; None where the endpoint is not to get the event.
    pub fn call(&self, body: pg_sys::Datum) -> Option<String> {
        let role = configurer(Purpose::Transform, &self.name, &self.configured_by);
        acting_as(role, true, || {
            let resolved =
                self.resolved.get_or_init(|| resolve(Purpose::Transform, &self.name, pg_sys::JSONBOID, role));
            let mut text = None;
            self.plan.run(&resolved.call, &[pg_sys::JSONBOID], &[Some(body)], |row| text = row.get(1));
            text
        })
    }
}

/// Raises what is wrong with a transform the current user wants to configure.
#[pg_extern(sql = false)]
fn check_transform(name: &str) {
    resolve(Purpose::Transform, name, pg_sys::JSONBOID, unsafe { pg_sys::GetUserId() });
}
