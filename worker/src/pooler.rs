//! Whether a connection reaches PostgreSQL itself: behind a transaction pooler, session locks and LISTEN would belong
//! to whoever comes next.

use crate::database::{Session, Target, Trouble};
use crate::exit::{Code, Refusal};
use std::time::Duration;

/// A pooler without a free server connection lets a second client wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// Compares who answers on two connections.
pub async fn refuse(target: &Target) -> Result<(), Trouble> {
    let first = Session::open_bare(target, "probe").await?;
    let second = Session::open_bare(target, "probe").await?;
    let compare = async {
        let one = pid(&first).await?;
        second.execute("BEGIN").await?;
        let two = pid(&second).await?;
        let again = pid(&first).await?;
        second.execute("ROLLBACK").await?;
        Ok::<_, Trouble>((one, two, again))
    };
    match tokio::time::timeout(PATIENCE, compare).await {
        Err(_) => Err(found("a second connection gets no answer while the first is open")),
        Ok(Err(Trouble::Passing(text))) if text.contains("pgbouncer") || text.contains("pooling mode") => {
            Err(found(&text))
        }
        Ok(Err(trouble)) => Err(trouble),
        Ok(Ok((one, two, again))) if one == two || one != again => {
            Err(found("two connections share one server process"))
        }
        Ok(Ok(_)) => Ok(()),
    }
}

pub fn found(sign: &str) -> Trouble {
    Trouble::Final(Refusal::new(
        Code::Version,
        format!(
            "this connection leads through a transaction pooler ({sign}): connect to postgresql directly, or to a pooler \
             in session mode with room for ten connections"
        ),
    ))
}

async fn pid(session: &Session) -> Result<String, Trouble> {
    let value = session.simple_value("SELECT pg_catalog.pg_backend_pid()").await;
    value
        .map_err(|error| Trouble::of(&error))?
        .ok_or_else(|| Trouble::passing("pg_backend_pid() gave nothing"))
}
