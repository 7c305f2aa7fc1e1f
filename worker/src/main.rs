//! `pg-webhook-worker`: delivers the webhooks that pg_webhook enqueues in PostgreSQL, and can receive them for
//! development. ARCHITECTURE.md says how the parts play together.

#![forbid(unsafe_code)]

mod actor;
mod batch;
mod budget;
mod callback;
mod calls;
mod cli;
mod clock;
mod config;
mod credentials;
mod database;
mod exit;
mod filling;
mod gate;
mod http;
mod intake;
mod lanes;
mod lease;
mod listen;
mod logging;
mod message;
mod metrics;
mod outcome;
mod owed;
mod pace;
mod page;
mod pooler;
mod recording;
mod roster;
mod run;
mod serve;
mod shared;
mod smtp;
mod snapshot;
mod tail;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use cli::{Cli, Command, LogFormat};

fn main() {
    let matches = Cli::command().get_matches();
    let as_argument = matches
        .subcommand_matches("run")
        .is_some_and(|run| run.value_source("database_url") == Some(ValueSource::CommandLine));
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // Before any connection: two crypto providers could be compiled in, and rustls would not choose.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        unreachable!("nothing has installed one before");
    }
    let code = match cli.command {
        Command::Run(options) => {
            logging::start(options.log_format);
            logging::exit_on_panic();
            run::run(*options, as_argument)
        }
        Command::Listen(options) => {
            logging::start(LogFormat::Auto);
            logging::exit_on_panic();
            listen::run(options)
        }
    };
    std::process::exit(code as i32);
}
