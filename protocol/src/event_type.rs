//! What an event is called, for `webhook_emit`, and which names a subscription asks for.

use std::fmt;

/// The longest event type and the longest pattern, in bytes.
pub const MAX_BYTES: usize = 256;

/// The name of an event: segments of `[A-Za-z0-9_]+` joined by dots, at most [`MAX_BYTES`] long
/// (Standard Webhooks, "Event types").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventType<'a>(&'a str);

impl<'a> EventType<'a> {
    /// # Errors
    /// When `name` is empty, too long, has an empty segment or any other character.
    pub fn try_new(name: &'a str) -> Result<Self, InvalidEventType> {
        if is_dotted_name(name) { Ok(Self(name)) } else { Err(InvalidEventType(excerpt(name))) }
    }

    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Whether only `pg_webhook` itself may emit it: `webhook` and everything below.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.first_segment() == "webhook"
    }

    /// The family of the event: `order` of `order.line.added`.
    #[must_use]
    pub fn first_segment(&self) -> &'a str {
        first_segment(self.0)
    }
}

impl fmt::Display for EventType<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Which event types a subscription asks for: `*` all but `pg_webhook`'s own notices (`webhook.*`), `order.paid` exactly that one, `order.*` those with
/// one or more further segments (not `order` itself).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Matcher);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Matcher {
    All,
    Exact(String),
    /// Ends with the dot.
    Below(String),
}

impl Pattern {
    /// # Errors
    /// When `pattern` is none of the three forms.
    pub fn try_new(pattern: &str) -> Result<Self, InvalidPattern> {
        let invalid = || InvalidPattern(excerpt(pattern));
        if pattern == "*" {
            return Ok(Self(Matcher::All));
        }
        let family = pattern.strip_suffix(".*");
        // A type that "order.*" matches is at least as long as the pattern: a longer pattern would never match.
        if pattern.len() > MAX_BYTES || !is_dotted_name(family.unwrap_or(pattern)) {
            return Err(invalid());
        }
        Ok(Self(match family {
            Some(family) => Matcher::Below(format!("{family}.")),
            None => Matcher::Exact(pattern.to_owned()),
        }))
    }

    /// Whether the subscription asks for `event_type`, which must be valid ([`EventType::try_new`]).
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        match &self.0 {
            // pg_webhook's own notices go to those who ask for them by name: an endpoint that wants everything would
            // else be told of its own failures.
            Matcher::All => !EventType(event_type).is_reserved(),
            Matcher::Exact(name) => name == event_type,
            Matcher::Below(prefix) => {
                event_type.len() > prefix.len() && event_type.starts_with(prefix.as_str())
            }
        }
    }

    /// What an index finds the pattern by: it matches a type exactly if this is one of the type's [`keys`].
    #[must_use]
    pub fn key(&self) -> &str {
        match &self.0 {
            Matcher::All => "",
            Matcher::Exact(text) | Matcher::Below(text) => text,
        }
    }
}

/// The [`Pattern::key`]s of all patterns that match `event_type`, which must be valid ([`EventType::try_new`]).
pub fn keys(event_type: &str) -> impl Iterator<Item = &str> {
    let all = (!EventType(event_type).is_reserved()).then_some("");
    // A key that ends with a dot is a family's: no type does.
    let families = event_type.match_indices('.').map(|(dot, _)| &event_type[..=dot]);
    all.into_iter().chain(families).chain([event_type])
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Matcher::All => f.write_str("*"),
            Matcher::Exact(name) => f.write_str(name),
            Matcher::Below(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidEventType(String);

impl fmt::Display for InvalidEventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid event type {:?}: must be segments of letters, digits and _ joined by dots, \
             at most {MAX_BYTES} bytes",
            self.0
        )
    }
}

impl std::error::Error for InvalidEventType {}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPattern(String);

impl fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid event pattern {:?}: must be *, an event type, or an event type followed by .*, \
             at most {MAX_BYTES} bytes",
            self.0
        )
    }
}

impl std::error::Error for InvalidPattern {}

pub(crate) fn first_segment(event_type: &str) -> &str {
    event_type.split_once('.').map_or(event_type, |(first, _)| first)
}

fn is_dotted_name(name: &str) -> bool {
    if name.is_empty() || name.len() > MAX_BYTES {
        return false;
    }
    let mut segment_is_empty = true;
    for byte in name.bytes() {
        segment_is_empty = match byte {
            b'.' if segment_is_empty => return false,
            b'.' => true,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' => false,
            _ => return false,
        };
    }
    !segment_is_empty
}

/// Enough of a refused value to recognise it by; a message does not carry megabytes.
fn excerpt(value: &str) -> String {
    value.chars().take(MAX_BYTES + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn event_types() {
        let longest = "a".repeat(MAX_BYTES);
        for valid in ["a", "order.paid", "deal.stage_changed", "A.b.C9._", "webhook.test", &longest] {
            assert_eq!(EventType::try_new(valid).map(|t| t.as_str()), Ok(valid));
        }
        let too_long = "a".repeat(MAX_BYTES + 1);
        for invalid in
            ["", ".", "a.", ".a", "a..b", "a b", "a-b", "*", "a.*", "é", "a\n", "a\0", "a/b", &too_long]
        {
            assert!(EventType::try_new(invalid).is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn segments_and_reservation() {
        for (name, first, reserved) in [
            ("order", "order", false),
            ("order.line.added", "order", false),
            ("webhook", "webhook", true),
            ("webhook.test", "webhook", true),
            ("webhooks.test", "webhooks", false),
            ("my.webhook", "my", false),
        ] {
            let event_type = EventType::try_new(name).unwrap();
            assert_eq!((event_type.first_segment(), event_type.is_reserved()), (first, reserved), "{name}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, event_type, expected) in [
            ("*", "order", true),
            ("*", "order.paid", true),
            ("*", "webhook.endpoint.disabled", false),
            ("*", "webhooks.sent", true),
            ("webhook.*", "webhook.endpoint.disabled", true),
            ("order", "order", true),
            ("order", "order.paid", false),
            ("order.paid", "order.paid", true),
            ("order.paid", "order.Paid", false),
            ("order.*", "order.paid", true),
            ("order.*", "order.line.added", true),
            ("order.*", "order", false),
            ("order.*", "orders.paid", false),
            ("order.line.*", "order.paid", false),
        ] {
            assert_eq!(
                Pattern::try_new(pattern).unwrap().matches(event_type),
                expected,
                "{pattern} {event_type}"
            );
        }
        let too_long = format!("{}.*", "a".repeat(MAX_BYTES - 1));
        for invalid in ["", "**", "*.a", "a.*.b", "a*", ".*", "a..*", "*.*", "a.*.*", " *", &too_long] {
            assert!(Pattern::try_new(invalid).is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn errors_name_the_value_and_the_rule() {
        assert_eq!(
            EventType::try_new("a b").unwrap_err().to_string(),
            "invalid event type \"a b\": must be segments of letters, digits and _ joined by dots, at most 256 bytes"
        );
        assert!(EventType::try_new(&"é".repeat(1 << 20)).unwrap_err().to_string().len() < 1024);
    }

    proptest! {
        #[test]
        fn a_type_matches_itself_its_families_and_all(name in "[A-Za-z0-9_]{1,8}(\\.[A-Za-z0-9_]{1,8}){0,6}") {
            prop_assert!(EventType::try_new(&name).is_ok());
            prop_assert!(Pattern::try_new(&name).unwrap().matches(&name));
            prop_assert!(Pattern::try_new("*").unwrap().matches(&name));
            for (dot, _) in name.match_indices('.') {
                let family = Pattern::try_new(&format!("{}.*", &name[..dot])).unwrap();
                prop_assert!(family.matches(&name));
            }
        }

        #[test]
        fn a_pattern_matches_the_types_that_have_its_key(
            pattern in "\\*|(webhook|[ab]{1,2})(\\.[ab]{1,2}){0,2}(\\.\\*)?",
            name in "(webhook|[ab]{1,2})(\\.[ab]{1,2}){0,3}",
        ) {
            let pattern = Pattern::try_new(&pattern).unwrap();
            prop_assert_eq!(keys(&name).any(|key| key == pattern.key()), pattern.matches(&name));
        }

        #[test]
        fn a_pattern_reads_back_as_written(pattern in "\\PC{0,12}|[a-c.*]{0,6}") {
            if let Ok(parsed) = Pattern::try_new(&pattern) {
                prop_assert_eq!(parsed.to_string(), pattern);
            }
        }
    }
}
