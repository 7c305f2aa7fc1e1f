//! `listen`: a receiver for development and tests. Verifies with the official library, tells what came.

mod arrival;
mod receiver;
mod secrets;
mod stats;
mod timestamp;

use crate::cli::Listen;
use crate::exit::Code;
use crate::serve;
use receiver::Receiver;
use secrets::Secrets;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

pub fn run(options: Listen) -> Code {
    let secrets = match Secrets::read(options.secret_file.clone(), std::env::var("PG_WEBHOOK_SECRET").ok()) {
        Ok(secrets) => secrets,
        Err(problem) => return usage(&problem),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("{error}");
            return Code::Internal;
        }
    };
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let address = ([127, 0, 0, 1], options.port).into();
        let (listener, local) = match serve::bind(address).await {
            Ok(bound) => bound,
            Err(problem) => return usage(&format!("{problem}; give another --port, 0 picks a free one")),
        };
        say(&format!("listening on http://{local}"));
        let quiet = options.quiet;
        let receiver = Rc::new(Receiver::new(options, secrets));
        if quiet {
            tokio::task::spawn_local(summarise(receiver.clone()));
        }
        let served = serve::run(listener, move |request| receiver.clone().receive(request));
        tokio::select! {
            () = served => {}
            _ = tokio::signal::ctrl_c() => {}
            () = terminated() => {}
        }
        Code::Ok
    })
}

async fn terminated() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

async fn summarise(receiver: Rc<Receiver>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        say(&receiver.stats().to_string());
    }
}

/// To standard output; whoever closed it does not care.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn usage(problem: &str) -> Code {
    tracing::error!("{problem}");
    Code::Usage
}
