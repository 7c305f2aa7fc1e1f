//! What a received request says of itself.

use serde::Deserialize;
use std::borrow::Cow;

/// The envelope's members that are shown; the data is passed over.
#[derive(Deserialize, Default)]
pub struct Envelope<'a> {
    #[serde(rename = "type", borrow, default)]
    pub kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub timestamp: Option<Cow<'a, str>>,
}

impl<'a> Envelope<'a> {
    /// Of whatever body: one that is no envelope says nothing.
    pub fn of(body: &'a [u8]) -> Envelope<'a> {
        serde_json::from_slice(body).unwrap_or_default()
    }

    pub fn timestamp_us(&self) -> Option<i64> {
        self.timestamp.as_deref().and_then(super::timestamp::parse_us)
    }
}

/// A header of the other side, fit for a line on a terminal.
pub fn printable(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

/// Event ids are UUIDs; others are told apart by their hash.
pub fn event_key(id: &str) -> u128 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    uuid::Uuid::try_parse(id).map_or_else(
        |_| {
            let mut hasher = DefaultHasher::new();
            id.hash(&mut hasher);
            u128::from(hasher.finish())
        },
        |uuid| uuid.as_u128(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_envelope() {
        let body = br#"{"id":"x","type":"order.paid","timestamp":"1970-01-01T00:00:01Z","data":{"type":1}}"#;
        let envelope = Envelope::of(body);
        assert_eq!(envelope.kind.as_deref(), Some("order.paid"));
        assert_eq!(envelope.timestamp_us(), Some(1_000_000));
        assert!(Envelope::of(b"\xFF").kind.is_none());
        assert_eq!(printable("a\x1b[31m"), "a\u{FFFD}[31m");
    }
}
