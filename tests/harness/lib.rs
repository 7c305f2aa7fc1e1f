//! What the tests stand on: a real PostgreSQL cluster, the real worker binary, real HTTP receivers. All of it ends
//! with the test process, however that ends.
//!
//! Tests wait on signals (a row, a request, a log line) with [`until`]; none sleeps for a fixed time and hopes.

#![forbid(unsafe_code)]

mod certificate;
mod cluster;
mod database;
mod dns;
mod forward_proxy;
mod network;
mod pooler;
mod process;
mod proxy;
mod raw;
mod receiver;
mod wait;
mod worker;
mod writers;

pub use certificate::{Authority, Identity};
pub use cluster::{Cluster, ClusterOptions};
pub use database::{Database, SqlError};
pub use dns::{DnsServer, Record};
pub use forward_proxy::{ForwardProxy, ForwardProxyOptions};
pub use network::isolated;
pub use pooler::Pooler;
pub use process::{bindir, free_port, postgres_command};
pub use proxy::Proxy;
pub use raw::{Conversation, RawReceiver};
pub use receiver::{Answer, Gate, Receiver, Request};
pub use wait::{DEADLINE, until};
pub use worker::Worker;
pub use writers::Writers;
