//! Templates read backwards, for verifying: from a text to the values its placeholders had.

use crate::message::{BASE64_BYTES, HEX_BYTES};
use crate::template::{Part, Placeholder, Template, Values};

/// Takes the values of the template's placeholders from the beginning of `text` and returns where it ends. `None`
/// where the text does not fit, a value is empty, or it differs from the one that is already known.
///
/// A value without a form of its own reaches to the first occurrence of the text after it; the last one to the end, or
/// to `stop`.
pub(crate) fn capture<'a>(
    template: &Template,
    text: &'a str,
    digest_bytes: usize,
    stop: Option<&str>,
    values: &mut Values<'a>,
) -> Option<usize> {
    use Placeholder::{BodySha256Base64, BodySha256Hex, Digest, Timestamp, TimestampMs};
    let stop = stop.filter(|stop| !stop.is_empty());
    let mut rest = text;
    let mut parts = template.parts().iter().peekable();
    while let Some(part) = parts.next() {
        let placeholder = match part {
            Part::Text(text) => {
                rest = rest.strip_prefix(text.as_str())?;
                continue;
            }
            Part::Placeholder(placeholder) => *placeholder,
        };
        let length = match (placeholder, parts.peek()) {
            (Timestamp | TimestampMs, _) => rest.bytes().take_while(u8::is_ascii_digit).count(),
            (Digest, _) => digest_bytes,
            (BodySha256Hex, _) => HEX_BYTES,
            (BodySha256Base64, _) => BASE64_BYTES,
            (_, Some(Part::Text(next))) => rest.find(next.as_str())?,
            // Two values without anything between them cannot be told apart.
            (_, Some(Part::Placeholder(_))) => return None,
            (_, None) => stop.and_then(|stop| rest.find(stop)).unwrap_or(rest.len()),
        };
        let (value, after) = rest.split_at_checked(length).filter(|(value, _)| !value.is_empty())?;
        if values.get(placeholder).is_some_and(|known| known != value) {
            return None;
        }
        values.set(placeholder, value);
        rest = after;
    }
    Some(text.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The length taken from `text`, the id and the timestamp found in it.
    fn read<'a>(source: &str, text: &'a str) -> Option<(usize, Option<&'a str>, Option<&'a str>)> {
        let mut values = Values::default();
        let template = Template::try_new(source).unwrap();
        let end = capture(&template, text, HEX_BYTES, Some(" "), &mut values)?;
        Some((end, values.get(Placeholder::Id), values.get(Placeholder::Timestamp)))
    }

    #[test]
    fn values_are_told_apart() {
        let digest = "0".repeat(HEX_BYTES);
        for (source, text, expected) in [
            ("{id}", "evt_1", Some((5, Some("evt_1"), None))),
            ("{id}", "evt_1 rest", Some((5, Some("evt_1"), None))),
            ("{id}", "", None),
            ("a{id}z", "abczz", Some((4, Some("bc"), None))),
            ("a{id}z", "abc", None),
            ("{timestamp}{id}", "12ab", Some((4, Some("ab"), Some("12")))),
            ("{timestamp}", "x", None),
            ("{id}{type}", "ab", None),
            ("{id}.{timestamp}.{id}", "a.1.a", Some((5, Some("a"), Some("1")))),
            ("{id}.{timestamp}.{id}", "a.1.b", None),
            ("{digest}", &digest, Some((HEX_BYTES, None, None))),
            ("{digest}", &digest[1..], None),
            ("{digest}", "\u{e9}", None),
        ] {
            assert_eq!(read(source, text), expected, "{source} {text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_rendered_is_read_back(id in "[a-z0-9_]{1,20}", timestamp in "[0-9]{1,12}", text in "[a-z.,=:]{0,5}") {
            let source = format!("{text}{{timestamp}}.{{id}},{text}");
            let rendered = format!("{text}{timestamp}.{id},{text}");
            let expected = (rendered.len(), Some(id.as_str()), Some(timestamp.as_str()));
            prop_assert_eq!(read(&source, &rendered), Some(expected));
        }

        #[test]
        fn no_text_makes_it_panic(text in "(\\PC|[0-9.]){0,100}") {
            for source in ["{id}.{timestamp}", "{digest}.{body_sha256_base64}", "{timestamp_ms}{type}"] {
                let _ = read(source, &text);
            }
        }
    }
}
