//! What is counted and measured, for /metrics.

use crate::outcome::Kind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConnectionLabel {
    connection: &'static str,
}

pub struct Metrics {
    registry: Registry,
    attempts: [Counter; Kind::ALL.len()],
    connected: Family<ConnectionLabel, Gauge>,
    pub rows_read: Counter,
    pub recorded: Counter,
    pub batches: Counter,
    pub callback_failures: Counter,
    pub tail_reads: Counter,
    pub backlog_reads: Counter,
    pub wakes: Counter,
    pub in_flight: Gauge,
    pub unrecorded: Gauge,
    pub window_bytes: Gauge,
    pub endpoints: Gauge,
    pub slots: Gauge,
    pub members: Gauge,
    pub attempt_s: Histogram,
    pub commit_to_send_s: Histogram,
}

impl Metrics {
    pub fn new() -> Metrics {
        let outcomes = Family::<OutcomeLabel, Counter>::default();
        let count = |kind: Kind| outcomes.get_or_create(&OutcomeLabel { outcome: kind.name() }).clone();
        let mut metrics = Metrics {
            registry: Registry::with_prefix("pg_webhook"),
            attempts: Kind::ALL.map(count),
            connected: Family::default(),
            rows_read: Counter::default(),
            recorded: Counter::default(),
            batches: Counter::default(),
            callback_failures: Counter::default(),
            tail_reads: Counter::default(),
            backlog_reads: Counter::default(),
            wakes: Counter::default(),
            in_flight: Gauge::default(),
            unrecorded: Gauge::default(),
            window_bytes: Gauge::default(),
            endpoints: Gauge::default(),
            slots: Gauge::default(),
            members: Gauge::default(),
            attempt_s: Histogram::new(exponential_buckets(0.000_5, 2.0, 18)),
            commit_to_send_s: Histogram::new(exponential_buckets(0.000_5, 2.0, 18)),
        };
        metrics.register(outcomes);
        metrics
    }

    fn register(&mut self, outcomes: Family<OutcomeLabel, Counter>) {
        let registry = &mut self.registry;
        registry.register("attempts", "Attempts and deliveries ended without one, by outcome", outcomes);
        registry.register("rows_read", "Rows of the queue read by endpoints", self.rows_read.clone());
        registry.register("recorded", "Outcomes recorded", self.recorded.clone());
        registry.register("batches", "Transactions that recorded them", self.batches.clone());
        let help = "Callbacks (on_delivered, on_failed) that failed";
        registry.register("callback_failures", help, self.callback_failures.clone());
        registry.register("tail_reads", "Reads of the queue's tail", self.tail_reads.clone());
        registry.register("backlog_reads", "Reads of endpoints' own backlogs", self.backlog_reads.clone());
        registry.register("wakes", "Notifications of new deliveries", self.wakes.clone());
        registry.register("in_flight", "Requests under way", self.in_flight.clone());
        registry.register("unrecorded", "Outcomes waiting to be recorded", self.unrecorded.clone());
        registry.register(
            "window_bytes",
            "Memory taken by deliveries waiting to be sent",
            self.window_bytes.clone(),
        );
        registry.register("endpoints", "Endpoints with work", self.endpoints.clone());
        registry.register("slots", "Slots owned", self.slots.clone());
        registry.register("members", "Workers in the fleet", self.members.clone());
        registry.register("connected", "Whether a database connection is up", self.connected.clone());
        registry.register("attempt_seconds", "Duration of attempts", self.attempt_s.clone());
        let help = "From the event to the start of its first attempt";
        registry.register("event_to_attempt_seconds", help, self.commit_to_send_s.clone());
    }

    pub fn came(&self, kind: Kind) {
        self.attempts[kind as usize].inc();
    }

    pub fn connected(&self, connection: &'static str, up: bool) {
        self.connected.get_or_create(&ConnectionLabel { connection }).set(i64::from(up));
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
