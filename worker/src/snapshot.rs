//! A `pg_snapshot` as text, `xmin:xmax:xip,…`: which transactions a read of the queue could see.

use std::fmt;
use std::str::FromStr;

/// Invariant: `xip` is sorted and lies within `xmin..xmax`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    xmin: u64,
    xmax: u64,
    xip: Box<[u64]>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct InvalidSnapshot(String);

impl fmt::Display for InvalidSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a snapshot: \"{}\"", self.0)
    }
}

impl std::error::Error for InvalidSnapshot {}

impl Snapshot {
    /// A snapshot that sees everything: reading what it could not see reads nothing, and costs nothing.
    pub fn everything() -> Snapshot {
        Snapshot { xmin: i64::MAX as u64, xmax: i64::MAX as u64, xip: Box::default() }
    }

    /// Whether the rows of this (committed) top-level transaction were visible.
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && self.xip.binary_search(&xid).is_err())
    }

    #[cfg(test)]
    pub fn new(xmax: u64, mut xip: Vec<u64>) -> Snapshot {
        xip.sort_unstable();
        let xmin = xip.first().copied().unwrap_or(xmax);
        Snapshot { xmin, xmax, xip: xip.into() }
    }
}

impl FromStr for Snapshot {
    type Err = InvalidSnapshot;

    fn from_str(text: &str) -> Result<Snapshot, InvalidSnapshot> {
        parse(text).ok_or_else(|| InvalidSnapshot(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Snapshot> {
    let mut parts = text.splitn(3, ':');
    let xmin = parts.next()?.parse().ok()?;
    let xmax = parts.next()?.parse().ok()?;
    let mut xip = match parts.next()? {
        "" => Vec::new(),
        list => list.split(',').map(|xid| xid.parse().ok()).collect::<Option<Vec<u64>>>()?,
    };
    xip.sort_unstable();
    let within = xip.iter().all(|xid| (xmin..xmax).contains(xid));
    (xmin <= xmax && within).then(|| Snapshot { xmin, xmax, xip: xip.into() })
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (place, xid) in self.xip.iter().enumerate() {
            write!(f, "{}{xid}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_what_had_committed() {
        let snapshot: Snapshot = "10:20:10,14,15".parse().unwrap();
        for (xid, seen) in
            [(3, true), (9, true), (10, false), (11, true), (14, false), (19, true), (20, false), (21, false)]
        {
            assert_eq!(snapshot.sees(xid), seen, "{xid}");
        }
        assert_eq!(snapshot.to_string(), "10:20:10,14,15");
        assert!(Snapshot::everything().sees(i64::MAX as u64 - 1));
    }

    #[test]
    fn refuses_what_is_none() {
        for text in ["", "1", "1:2", "a:2:", "1:2:x", "3:2:", "1:5:7", "1:5:2,,3", "1:2:3:4"] {
            assert!(text.parse::<Snapshot>().is_err(), "{text}");
        }
        assert_eq!("7:7:".parse::<Snapshot>().unwrap(), Snapshot::new(7, vec![]));
    }
}
