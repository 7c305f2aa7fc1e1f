//! `run`: puts the actors together and takes them apart.

use crate::actor::caller::Caller;
use crate::actor::janitor::Janitor;
use crate::actor::listener::Listener;
use crate::actor::mailer::Mailer;
use crate::actor::owner::{Owner, Shutdown};
use crate::actor::reader::Reader;
use crate::actor::recorder::Recorder;
use crate::actor::status::Status;
use crate::actor::tailer::Tailer;
use crate::budget;
use crate::cli::{HttpAddress, Run};
use crate::credentials;
use crate::database::Target;
use crate::exit::{Code, Refusal};
use crate::gate::Gate;
use crate::http::Settings;
use crate::roster::{Place, Roster};
use crate::serve;
use crate::shared::{Shared, end, refuse};
use crate::smtp::{self, MailServer};
use crate::snapshot::Snapshot;
use crate::tail::Tail;
use actix::prelude::*;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// `as_argument`: --database-url was given on the command line.
pub fn run(options: Run, as_argument: bool) -> Code {
    let system = System::new();
    system.block_on(async move {
        if let Err(refusal) = start(options, as_argument).await {
            refuse(&refusal);
        }
    });
    match system.run_with_code() {
        Ok(code) => code_of(code),
        Err(error) => {
            tracing::error!("the actor system failed: {error}");
            Code::Internal
        }
    }
}

fn code_of(code: i32) -> Code {
    let codes =
        [Code::Ok, Code::Internal, Code::Usage, Code::Version, Code::Rights, Code::Standby, Code::NotArmed];
    codes.into_iter().find(|known| *known as i32 == code).unwrap_or(Code::Internal)
}

async fn start(options: Run, as_argument: bool) -> Result<(), Refusal> {
    let environment = |name: &str| std::env::var(name).ok();
    let target =
        Target::read(options.database_url.as_deref(), as_argument, environment).map_err(Refusal::usage)?;
    let settings = Settings::read(&options, environment).map_err(Refusal::usage)?;
    let mail_server = match &options.smtp_url {
        None => None,
        Some(url) => {
            let server = credentials::from_environment(smtp::USER, smtp::PASSWORD, environment)
                .and_then(|credentials| MailServer::new(url, credentials, options.ca_file.as_deref()));
            Some(server.map_err(Refusal::usage)?)
        }
    };
    let shared = Arc::new(Shared::new(target, budget::open_files()));
    let status = match options.http_address {
        HttpAddress::Off => None,
        HttpAddress::At(address) => {
            let (listener, local) = serve::bind(address).await.map_err(|problem| {
                Refusal::usage(format!("{problem}; give another --http-address, or off"))
            })?;
            tracing::info!("serving /healthz and /metrics on http://{local}");
            Some(Status::new(shared.clone(), listener))
        }
    };

    let places = places(&shared, &settings)?;
    let recorder = Recorder::new(shared.clone()).start();
    let caller = Caller::new(shared.clone()).start();
    let on_duty = Arc::new(AtomicBool::new(false));
    let tailer = Tailer::create(|ctx| {
        let tail = Tail::new(Snapshot::everything(), 1);
        let roster = Roster::new(tail, shared.clone(), places, recorder, caller, ctx.address());
        Tailer::new(shared.clone(), roster)
    });
    Listener::new(shared.clone(), tailer.clone()).start();
    Janitor::new(shared.clone(), on_duty.clone()).start();
    mail_server.map(|server| Mailer::new(shared.clone(), server).start());
    let owner = Owner::new(shared, tailer, options.arm_id, on_duty).start();
    status.map(Actor::start);
    actix::spawn(stop_on_signal(owner, options.shutdown_timeout));
    Ok(())
}

/// As many arbiters as cores, each with its own client and reader: a request stays on one thread.
fn places(shared: &Arc<Shared>, settings: &Arc<Settings>) -> Result<Vec<Place>, Refusal> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut places = Vec::with_capacity(cores);
    for _ in 0..cores {
        let arbiter = Arbiter::new().handle();
        let http = settings.http().map_err(Refusal::usage)?;
        let shared = shared.clone();
        let reader = Reader::start_in_arbiter(&arbiter, |_| Reader::new(shared));
        places.push(Place { arbiter, http, gate: Gate::new(), reader });
    }
    Ok(places)
}

async fn stop_on_signal(owner: Addr<Owner>, within: Duration) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals can't be waited for");
        return end(Code::Internal);
    };
    let mut told = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if std::mem::replace(&mut told, true) {
            tracing::warn!("told twice to stop: stopping at once, requests under way will be made again");
            std::process::exit(Code::Ok as i32);
        }
        let _ = owner.send(Shutdown { within }).await;
    }
}
