//! Measures pg_webhook side by side with what a team would pick instead: each measure and its reference in the same run, in
//! turn, on the same cluster and receiver. A bench asserts counts, never times. `make bench` runs it.

#![forbid(unsafe_code)]

mod application;
mod backlog;
mod bare;
mod capture;
mod concurrent;
mod cpu;
mod drain;
mod emit;
mod endpoints;
mod growth;
mod inbox;
mod isolation;
mod latency;
mod log;
mod peer;
mod pgbench;
mod plot;
mod process;
mod receiver;
mod report;
mod row;
mod series;
mod snapshot;
mod soak;
mod stage;
mod trickle;
mod turns;
mod work;

use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, print the table, write it to a file as JSON.
    Run(Run),
    /// How costs grow with what is queued, with endpoints, bodies, workers, history; one round each.
    Growth(Trial),
    /// Under load for a while: is everything as flat as it should be, and is nothing lost?
    Soak {
        #[arg(long, default_value_t = 30)]
        minutes: u32,
        #[command(flatten)]
        trial: Trial,
    },
    /// The server that every contestant posts to.
    Receiver,
    /// Post the bodies of webhook.event in a bare loop.
    Bare { conninfo: String, url: String },
}

#[derive(clap::Args)]
struct Run {
    /// What to measure; all that fits into 25 minutes if nothing is named.
    names: Vec<Name>,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[command(flatten)]
    trial: Trial,
}

#[derive(clap::Args, Clone, Copy)]
struct Trial {
    /// A trial of the bench itself: a twentieth of the counts, two rounds. What it prints says nothing.
    #[arg(long)]
    quick: bool,
}

impl Trial {
    /// What counts are divided by.
    fn divisor(self) -> u32 {
        if self.quick { 20 } else { 1 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Name {
    Drain,
    Emit,
    Capture,
    Concurrent,
    Latency,
    Isolation,
    Snapshot,
    Endpoints,
    Backlog,
    Log,
}

/// What `make bench` measures; backlog and log take their time.
const USUAL: [Name; 8] = [
    Name::Drain,
    Name::Emit,
    Name::Capture,
    Name::Concurrent,
    Name::Latency,
    Name::Isolation,
    Name::Snapshot,
    Name::Endpoints,
];

fn main() {
    match Cli::parse().command {
        Command::Receiver => receiver::serve(),
        Command::Bare { conninfo, url } => bare::post(&conninfo, &url),
        Command::Run(run) => measure(&run),
        Command::Growth(trial) => grow(trial),
        Command::Soak { minutes, trial } => soak(minutes, trial),
    }
}

#[tokio::main]
async fn measure(run: &Run) {
    let rounds = if run.trial.quick { 2 } else { run.rounds };
    let names = if run.names.is_empty() { &USUAL[..] } else { &run.names };
    let stage = stage::Stage::set_up(rounds, run.trial.divisor()).await;
    let mut rows = Vec::new();
    for name in names {
        let began = std::time::Instant::now();
        let measured = match name {
            Name::Drain => drain::run(&stage).await,
            Name::Emit => emit::run(&stage).await,
            Name::Capture => capture::run(&stage).await,
            Name::Concurrent => concurrent::run(&stage).await,
            Name::Latency => latency::run(&stage).await,
            Name::Isolation => isolation::run(&stage).await,
            Name::Snapshot => snapshot::run(&stage).await,
            Name::Endpoints => endpoints::run(&stage).await,
            Name::Backlog => backlog::run(&stage).await,
            Name::Log => log::run(&stage).await,
        };
        eprintln!("{name:?}, {:.0} s\n\n{}", began.elapsed().as_secs_f64(), row::table(&measured));
        rows.extend(measured);
    }
    println!("{}", row::table(&rows));
    let named: Vec<String> = run.names.iter().map(|name| format!("{name:?}").to_lowercase()).collect();
    let name = if named.is_empty() { "usual".to_owned() } else { named.join("-") };
    report::write(&name, &rows, rounds, run.trial.quick);
}

#[tokio::main]
async fn grow(trial: Trial) {
    let stage = stage::Stage::set_up(1, trial.divisor()).await;
    let (rows, curves) = growth::run(&stage).await;
    println!("{}", row::table(&rows));
    report::draw(&curves, trial.quick);
    report::write("growth", &rows, 1, trial.quick);
}

#[tokio::main]
async fn soak(minutes: u32, trial: Trial) {
    let stage = stage::Stage::set_up(1, trial.divisor()).await;
    let curves = soak::run(&stage, minutes).await;
    report::draw(&curves, trial.quick);
}
