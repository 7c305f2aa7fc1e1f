//! Applications at work: sessions that commit one transaction after another.

use crate::database::Database;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

pub struct Writers {
    stop: Arc<AtomicBool>,
    sessions: Vec<JoinHandle<Vec<String>>>,
}

impl Writers {
    /// So many sessions run this again and again, a transaction each: a SELECT of the ids of the events it makes.
    pub async fn start(database: &Database, sessions: usize, sql: &'static str) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let mut started = Vec::new();
        for _ in 0..sessions {
            started.push(tokio::spawn(write(database.session().await, sql, stop.clone())));
        }
        Writers { stop, sessions: started }
    }

    /// Ends them, if the server has not; returns the ids of what was committed for sure.
    pub async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut committed = Vec::new();
        for session in self.sessions {
            committed.extend(session.await.expect("no panic"));
        }
        committed
    }
}

/// Until it is told to stop or the server goes. What was under way then may or may not have been committed.
async fn write(client: Client, sql: &'static str, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut committed = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match client.simple_query(sql).await {
            Ok(messages) => committed.extend(messages.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })),
            Err(error) if error.code().is_none_or(|code| code.code().starts_with("57P")) => break,
            Err(error) => panic!("{error:?}\nin: {sql}"),
        }
    }
    committed
}
