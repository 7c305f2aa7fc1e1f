//! Connections to PostgreSQL. What is asked over them stands with the actor that asks.

mod conninfo;
mod pgpass;
mod public_key;
mod session;
mod target;
mod tls;
mod trouble;

pub use session::{Session, backoff};
pub use target::Target;
pub use trouble::{Trouble, text as error_text};
