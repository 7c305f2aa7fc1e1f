//! The receiver process as a bench sees it: where to post, what has come.

use crate::process::{Process, patiently};
use std::collections::HashMap;
use std::time::Duration;

pub struct Inbox {
    pub process: Process,
    client: reqwest::Client,
    port: u16,
}

/// What has come in on one lane.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    pub received: u64,
    pub first_us: i64,
}

impl Inbox {
    pub async fn start() -> Inbox {
        let mut process = Process::own(&["receiver"]);
        let port = process.line().await.parse().expect("the receiver prints its port");
        Inbox { process, client: reqwest::Client::new(), port }
    }

    /// Where a lane answers 200 at once.
    pub fn url(&self, lane: u32) -> String {
        self.url_with(lane, 0, 0)
    }

    pub fn url_with(&self, lane: u32, delay_ms: u32, fail_percent: u32) -> String {
        format!("http://127.0.0.1:{}/{lane}/{delay_ms}/{fail_percent}", self.port)
    }

    async fn get(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:{}/{path}", self.port);
        let response = self.client.get(url).send().await.expect("the receiver answers");
        response.text().await.expect("the receiver's answer is text")
    }

    pub async fn forget(&self) {
        let url = format!("http://127.0.0.1:{}/", self.port);
        self.client.delete(url).send().await.expect("the receiver answers");
    }

    pub async fn arrived(&self, lane: u32) -> Arrived {
        let told = self.get(&lane.to_string()).await;
        let mut numbers = told.split(' ').map(|number| number.parse::<i64>().expect("a number"));
        let mut next = || numbers.next().expect("two numbers");
        Arrived { received: next().cast_unsigned(), first_us: next() }
    }

    /// Waits until so many requests have come.
    pub async fn wait_for(&self, lane: u32, count: u64, patience: Duration) -> Arrived {
        patiently(&format!("{count} requests have come on lane {lane}"), patience, async || {
            let arrived = self.arrived(lane).await;
            (arrived.received >= count).then_some(arrived)
        })
        .await
    }

    /// When each id came first, in microseconds since 1970.
    pub async fn arrivals(&self, lane: u32) -> HashMap<String, i64> {
        let mut first = HashMap::new();
        for line in self.get(&format!("{lane}/arrivals")).await.lines() {
            let (id, at) = line.split_once(' ').expect("an id and a time");
            first.entry(id.to_owned()).or_insert(at.parse().expect("a time"));
        }
        first
    }

    /// How many ids have come.
    pub async fn distinct(&self, lane: u32) -> u64 {
        self.get(&format!("{lane}/distinct")).await.parse().expect("a number")
    }
}
