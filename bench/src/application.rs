//! An application that writes orders: with nothing that listens, with pg_webhook attached, with an outbox of its own.

use crate::stage::Stage;
use harness::Database;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Application {
    Plain,
    Attached,
    Outbox,
}

impl Application {
    /// Its database. The endpoint wants everything and is called by nobody: no worker runs.
    pub async fn database(self, stage: &Stage) -> Database {
        let database = match self {
            Application::Attached => stage.database().await,
            Application::Plain | Application::Outbox => Database::empty(&stage.cluster).await,
        };
        database.run(include_str!("../sql/orders.sql")).await;
        match self {
            Application::Plain => {}
            Application::Attached => {
                stage.endpoint(&database, &stage.inbox.url(0), "{*}").await;
                database.run("SELECT webhook_attach('orders')").await;
            }
            Application::Outbox => database.run(include_str!("../sql/outbox.sql")).await,
        }
        database
    }

    /// Asserts that every order has become an event.
    pub async fn check(self, database: &Database) {
        let events = match self {
            Application::Plain => return,
            Application::Attached => "SELECT count(*) FROM webhook.queue JOIN webhook.event ON id = event_id",
            Application::Outbox => "SELECT count(*) FROM outbox",
        };
        let orders = database.number("SELECT count(*) FROM orders").await;
        assert_eq!(database.number(events).await, orders, "{self:?}: every order is an event");
    }
}
