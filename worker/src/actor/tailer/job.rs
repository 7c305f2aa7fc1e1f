//! What the tailer asks the database, one thing at a time.

use crate::config::EndpointConfig;
use crate::database::{Session, Trouble};
use crate::owed::Owed;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::tail::Query;
use std::time::Instant;
use tokio_postgres::Row;
use uuid::Uuid;

/// Rows of one read. A round of several pages is as exact as one of a single page.
const PAGE_ROWS: usize = 1_000;

const TAIL: &str = "SELECT * FROM webhook.worker_tail($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const PENDING: &str = "SELECT * FROM webhook.worker_pending($1, $2)";
const ENDPOINTS: &str = "SELECT * FROM webhook.worker_endpoints($1)";

pub enum Job {
    Open,
    Snapshot,
    Pending(Vec<i32>),
    Configs(Vec<i32>),
    Page(Query, usize),
}

pub enum Done {
    Opened(Session),
    Snapshot(Snapshot),
    Pending(Vec<(i32, bool, Option<f64>)>),
    Configs(Vec<i32>, Vec<EndpointConfig>),
    Page { snapshot: Snapshot, full_at: Option<(i64, Uuid)>, rows: Vec<Owed> },
}

pub async fn perform(
    job: Job,
    shared: &Shared,
    session: Option<&Session>,
    slots: i32,
) -> Result<Done, Trouble> {
    let session = match (&job, session) {
        (Job::Open, _) => {
            let epoch = shared.epoch();
            let session = Session::open(&shared.target, "tailer", "").await?;
            return Ok(Done::Opened(session.until(shared.epoch_over(epoch))));
        }
        (_, Some(session)) => session,
        (_, None) => return Err(Trouble::passing("not connected")),
    };
    let refused = |error: tokio_postgres::Error| Trouble::of(&error);
    Ok(match job {
        Job::Open => unreachable!("handled above"),
        Job::Snapshot => {
            let everything = Snapshot::everything().to_string();
            let none = None::<String>;
            let owned = Some(Vec::<i32>::new());
            let muted = Vec::<i32>::new();
            let row = session
                .query_one(
                    TAIL,
                    &[&slots, &owned, &muted, &everything, &none, &None::<i64>, &None::<Uuid>, &1i32, &0i64],
                )
                .await?;
            Done::Snapshot(snapshot(std::slice::from_ref(&row))?.0)
        }
        Job::Pending(owned) => {
            let rows = session.query(PENDING, &[&slots, &owned]).await.map_err(refused)?;
            let read = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
            Done::Pending(rows.iter().map(read).collect::<Result<_, _>>().map_err(refused)?)
        }
        Job::Configs(asked) => {
            let rows = session.query(ENDPOINTS, &[&asked]).await.map_err(refused)?;
            let found =
                rows.iter().map(EndpointConfig::from_row).collect::<Result<_, _>>().map_err(refused)?;
            Done::Configs(asked, found)
        }
        Job::Page(query, page_bytes) => {
            let read_at = Instant::now();
            let rows = session
                .query(
                    TAIL,
                    &[
                        &slots,
                        &query.owned,
                        &query.muted,
                        &query.since,
                        &query.within,
                        &query.after_xid,
                        &query.after_event,
                        &(PAGE_ROWS as i32),
                        &(page_bytes as i64),
                    ],
                )
                .await
                .map_err(refused)?;
            let (snapshot, count) = snapshot(&rows)?;
            let rows: Vec<Owed> = rows[1..]
                .iter()
                .map(|row| Owed::from_row(row, read_at))
                .collect::<Result<_, _>>()
                .map_err(refused)?;
            let full = count as usize >= PAGE_ROWS;
            let full_at = rows.last().filter(|_| full).map(|row| (row.xid, row.event_id));
            Done::Page { snapshot, full_at, rows }
        }
    })
}

fn snapshot(rows: &[Row]) -> Result<(Snapshot, i32), Trouble> {
    let (text, count) =
        Owed::snapshot_of(rows).ok_or_else(|| Trouble::passing("worker_tail() gave no snapshot"))?;
    let snapshot = text.parse().map_err(|problem| Trouble::passing(format!("worker_tail(): {problem}")))?;
    Ok((snapshot, count))
}
