//! The rules of `pg_webhook` that need neither a database, a network, nor a clock: what an event is called, how a
//! delivery is signed, what an answer means and when to try again. The extension and the worker both call them, so
//! each rule is written, and tested, once. Time and random bytes come in as arguments.

#![forbid(unsafe_code)]

mod ascii;
pub mod breaker;
mod capture;
pub mod egress;
pub mod envelope;
pub mod event_id;
pub mod event_type;
pub mod fold;
pub mod header;
mod json;
pub mod layout;
mod message;
pub mod outcome;
pub mod rate;
pub mod retry_after;
pub mod schedule;
pub mod scheme;
pub mod secret;
mod sign;
pub mod template;
pub mod url;
pub mod verify;
