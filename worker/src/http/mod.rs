//! Requests to endpoints: what may be dialled, what is sent, what is kept of the answer, what went wrong.

mod answer;
pub mod attempt;
mod certificates;
mod certified;
mod client;
mod connections;
mod destination;
mod fault;
mod phase;
mod proxy;
mod resolver;
mod source;
mod turns;

pub use certificates::Certificates;
pub use client::{Http, Settings};
pub use destination::Destination;
