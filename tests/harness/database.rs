//! A database of the test's own with the extension in it, and what tests ask of it.

use crate::cluster::Cluster;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio_postgres::{Client, SimpleQueryMessage};

pub struct Database {
    pub name: String,
    host: String,
    port: u16,
    client: Client,
}

/// What an error says: SQLSTATE, message and hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    pub code: String,
    pub message: String,
    pub hint: String,
}

impl Database {
    /// A fresh database in the shared cluster, with the extension, plain http allowed.
    pub async fn new() -> Database {
        Self::in_cluster(Cluster::shared().await).await
    }

    /// The same in a cluster of the test's.
    pub async fn in_cluster(cluster: &Cluster) -> Database {
        let database = Self::empty(cluster).await;
        database.run("CREATE EXTENSION pg_webhook").await;
        let name = &database.name;
        database.run(&format!("ALTER DATABASE {name} SET pg_webhook.allow_http = on")).await;
        Self::open(cluster, name).await
    }

    /// A fresh database without the extension.
    pub async fn empty(cluster: &Cluster) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let postgres = cluster.connect("postgres").await.expect("the cluster is up");
        postgres
            .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"))
            .await
            .expect("made");
        Self::open(cluster, &name).await
    }

    /// A database that is there.
    pub async fn open(cluster: &Cluster, name: &str) -> Database {
        let client = cluster.connect(name).await.expect("the database takes connections");
        let host = cluster.socket_dir().to_str().expect("a path in UTF-8").to_owned();
        Database { name: name.to_owned(), host, port: cluster.port(), client }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// One more session, as superuser.
    pub async fn session(&self) -> Client {
        self.session_as("postgres").await
    }

    /// One more session, as this role.
    pub async fn session_as(&self, user: &str) -> Client {
        let mut config = tokio_postgres::Config::new();
        config.host(&self.host).port(self.port).user(user).dbname(&self.name);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("a session");
        tokio::spawn(connection);
        client
    }

    /// Makes a role of the test's own that may log in, with these options of CREATE ROLE; returns its name.
    pub async fn role(&self, what: &str, options: &str) -> String {
        let role = format!("{}_{what}", self.name);
        self.run(&format!("CREATE ROLE {role} LOGIN {options}")).await;
        role
    }

    /// Environment that leads a libpq client, or the worker, here.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("PGHOST", self.host.clone()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", "postgres".into()),
            ("PGDATABASE", self.name.clone()),
        ]
    }

    /// Runs statements; panics with what PostgreSQL said if one fails.
    pub async fn run(&self, sql: &str) {
        run_on(&self.client, sql).await;
    }

    /// The first column of the first row as text; panics if there is none or it is NULL.
    pub async fn text(&self, sql: &str) -> String {
        text_on(&self.client, sql).await.unwrap_or_else(|| panic!("no value from: {sql}"))
    }

    /// The first column of the first row as a number.
    pub async fn number(&self, sql: &str) -> i64 {
        let text = self.text(sql).await;
        text.parse().unwrap_or_else(|_| panic!("not a number: {text} from: {sql}"))
    }

    /// The same in another session.
    pub async fn text_in(client: &Client, sql: &str) -> String {
        text_on(client, sql).await.unwrap_or_else(|| panic!("no value from: {sql}"))
    }

    /// Runs statements in another session; panics with what PostgreSQL said if one fails.
    pub async fn run_in(client: &Client, sql: &str) {
        run_on(client, sql).await;
    }

    /// All rows as text, columns joined by `|`, NULL as the empty text.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        rows_on(&self.client, sql).await
    }

    /// The error a statement gives; panics if it gives none.
    pub async fn error(&self, sql: &str) -> SqlError {
        Self::error_on(&self.client, sql).await
    }

    pub async fn error_on(client: &Client, sql: &str) -> SqlError {
        let error = client.simple_query(sql).await.err().unwrap_or_else(|| panic!("no error from: {sql}"));
        let error =
            error.as_db_error().unwrap_or_else(|| panic!("not an error of the database: {error}: {sql}"));
        SqlError {
            code: error.code().code().to_owned(),
            message: error.message().to_owned(),
            hint: error.hint().unwrap_or_default().to_owned(),
        }
    }

    /// Takes away the events there are and says of each, in order: `type data`, and of an update ` was previous`.
    pub async fn take_events(&self) -> Vec<String> {
        self.rows(
            "WITH taken AS (DELETE FROM webhook.event RETURNING *)
             SELECT concat_ws(' ', type, body::json->'data', 'was ' || (body::json->'previous')::text) FROM taken ORDER BY id",
        )
        .await
    }

    /// The events that statements make, as of [`Database::take_events`]; what they did is rolled back.
    pub async fn events_of(&self, statements: &str) -> Vec<String> {
        self.run(&format!("BEGIN; {statements}")).await;
        let events = self.take_events().await;
        self.run("ROLLBACK").await;
        events
    }

    /// Makes an endpoint for `url` and returns (id, secret).
    pub async fn endpoint(&self, url: &str) -> (i32, String) {
        let row = self
            .client
            .query_one("SELECT endpoint_id, secret FROM webhook_endpoint_create($1)", &[&url])
            .await
            .expect("the endpoint is made");
        (row.get(0), row.get(1))
    }

    /// Waits until nothing is owed any more.
    pub async fn drained(&self) {
        let left = async || self.number("SELECT count(*) FROM webhook.queue").await;
        crate::wait::until_nothing_is_left("the queue is empty", left).await;
    }

    /// What waits for its time is due now.
    pub async fn pass_time(&self) {
        self.run("UPDATE webhook.queue SET due = clock_timestamp(), xid = pg_current_xact_id() WHERE due IS NOT NULL; NOTIFY webhook_wake").await;
    }

    /// Waits until a statement's first value is this text.
    pub async fn becomes(&self, sql: &str, wanted: &str) {
        crate::wait::until(&format!("{sql} gives {wanted}"), async || {
            (text_on(&self.client, sql).await.as_deref() == Some(wanted)).then_some(())
        })
        .await;
    }
}

pub(crate) async fn run_on(client: &Client, sql: &str) {
    if let Err(error) = answered(sql, client.batch_execute(sql)).await {
        panic!(
            "{}\nin: {sql}",
            error.as_db_error().map_or(error.to_string(), |e| format!(
                "{} {e} {:?}",
                e.code().code(),
                e.detail()
            ))
        );
    }
}

async fn query(client: &Client, sql: &str) -> Vec<SimpleQueryMessage> {
    let messages = answered(sql, client.simple_query(sql)).await;
    messages.unwrap_or_else(|error| panic!("{error:?}\nin: {sql}"))
}

/// Longest that a statement may take: far more than any does, so that one that hangs is told by name.
const LONGEST: Duration = Duration::from_secs(300);

async fn answered<T>(sql: &str, answer: impl Future<Output = T>) -> T {
    let answered = tokio::time::timeout(LONGEST, answer).await;
    answered.unwrap_or_else(|_| panic!("no answer for {LONGEST:?} to: {sql}"))
}

async fn rows_on(client: &Client, sql: &str) -> Vec<String> {
    let messages = query(client, sql).await;
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or_default()).collect::<Vec<_>>().join("|"))
            }
            _ => None,
        })
        .collect()
}

async fn text_on(client: &Client, sql: &str) -> Option<String> {
    let messages = query(client, sql).await;
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
        _ => None,
    })?
}
