//! The actors, one a file. What they decide by stands in modules of its own, without I/O.

pub mod caller;
pub mod endpoint;
pub mod janitor;
pub mod listener;
pub mod mailer;
pub mod owner;
pub mod reader;
pub mod recorder;
pub mod status;
pub mod tailer;
