//! What is signed and sent, and the texts that a scheme's placeholders stand for in it.

use std::borrow::Cow;

use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};

use crate::ascii::{DECIMAL_BYTES, decimal, hex};
use crate::event_type::first_segment;
use crate::header::escape;
use crate::template::{Placeholder, Values};

/// One request, as a signature scheme sees it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The event's id.
    pub id: &'a str,
    /// The id of this attempt, where there is one: before the first attempt there is none.
    pub attempt_id: Option<&'a str>,
    /// When it is signed, in milliseconds since 1970.
    pub at_ms: i64,
    pub body: &'a str,
    pub event_type: &'a str,
    /// An empty one is none.
    pub tenant: Option<&'a str>,
}

pub(crate) const HEX_BYTES: usize = 64;
pub(crate) const BASE64_BYTES: usize = 44;

/// The texts of one message, made at most once and without allocating where all of them are visible ASCII.
///
/// All but the body are escaped as in a header, where content is signed as well: a receiver signs what it reads.
pub(crate) struct Texts<'m> {
    id: Cow<'m, str>,
    attempt_id: Option<Cow<'m, str>>,
    event_type: Cow<'m, str>,
    tenant: Option<Cow<'m, str>>,
    at_ms: i64,
    timestamp: [u8; DECIMAL_BYTES],
    timestamp_ms: [u8; DECIMAL_BYTES],
    body: BodyTexts<'m>,
}

impl<'m> Texts<'m> {
    pub(crate) fn new(message: &Message<'m>) -> Self {
        Self {
            id: escape(message.id),
            attempt_id: message.attempt_id.map(escape),
            event_type: escape(message.event_type),
            tenant: message.tenant.filter(|tenant| !tenant.is_empty()).map(escape),
            at_ms: message.at_ms,
            timestamp: [0; DECIMAL_BYTES],
            timestamp_ms: [0; DECIMAL_BYTES],
            body: BodyTexts::new(message.body),
        }
    }

    /// The values of the placeholders; of those that cost something to make, only the ones in use.
    pub(crate) fn values(&mut self, uses: impl Fn(Placeholder) -> bool) -> Values<'_> {
        let mut values = self.body.values(&uses);
        values.set(Placeholder::Id, &self.id);
        values.set(Placeholder::Type, &self.event_type);
        values.set(Placeholder::TypeFirst, first_segment(&self.event_type));
        if let Some(attempt_id) = &self.attempt_id {
            values.set(Placeholder::AttemptId, attempt_id);
        }
        if let Some(tenant) = &self.tenant {
            values.set(Placeholder::Tenant, tenant);
        }
        if uses(Placeholder::Timestamp) {
            values.set(Placeholder::Timestamp, decimal(self.at_ms.div_euclid(1000), &mut self.timestamp));
        }
        if uses(Placeholder::TimestampMs) {
            values.set(Placeholder::TimestampMs, decimal(self.at_ms, &mut self.timestamp_ms));
        }
        values
    }
}

/// The texts that follow from the body alone.
pub(crate) struct BodyTexts<'m> {
    body: &'m str,
    hex: [u8; HEX_BYTES],
    base64: [u8; BASE64_BYTES],
}

impl<'m> BodyTexts<'m> {
    pub(crate) fn new(body: &'m str) -> Self {
        Self { body, hex: [0; HEX_BYTES], base64: [0; BASE64_BYTES] }
    }

    pub(crate) fn values(&mut self, uses: impl Fn(Placeholder) -> bool) -> Values<'_> {
        let mut values = Values::default();
        values.set(Placeholder::Body, self.body);
        let (uses_hex, uses_base64) = (uses(Placeholder::BodySha256Hex), uses(Placeholder::BodySha256Base64));
        if uses_hex || uses_base64 {
            let hash = Sha256::digest(self.body);
            if uses_hex {
                values.set(Placeholder::BodySha256Hex, hex(&hash, &mut self.hex));
            }
            if uses_base64 {
                values.set(Placeholder::BodySha256Base64, base64(&hash, &mut self.base64));
            }
        }
        values
    }
}

/// 32 bytes in base64, with padding.
pub(crate) fn base64<'b>(bytes: &[u8], buffer: &'b mut [u8; BASE64_BYTES]) -> &'b str {
    Base64::encode(bytes, buffer).expect("the buffer fits 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let message = Message {
            id: "evt_1",
            attempt_id: None,
            at_ms: -1,
            body: "é",
            event_type: "order.paid",
            tenant: Some("a b"),
        };
        let mut texts = Texts::new(&message);
        let values = texts.values(|_| true);
        for (placeholder, expected) in [
            (Placeholder::Id, Some("evt_1")),
            (Placeholder::AttemptId, None),
            (Placeholder::Timestamp, Some("-1")),
            (Placeholder::TimestampMs, Some("-1")),
            (Placeholder::Body, Some("é")),
            (
                Placeholder::BodySha256Hex,
                Some("4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c"),
            ),
            (Placeholder::BodySha256Base64, Some("SplVfkAzw1Od4utlRyAXytX5VX96BiWgnxw/biumnEw=")),
            (Placeholder::Type, Some("order.paid")),
            (Placeholder::TypeFirst, Some("order")),
            (Placeholder::Tenant, Some("a%20b")),
            (Placeholder::Signatures, None),
            (Placeholder::Digest, None),
        ] {
            assert_eq!(values.get(placeholder), expected, "{placeholder}");
        }
        assert_eq!(Texts::new(&message).values(|_| false).get(Placeholder::Timestamp), None);
    }
}
