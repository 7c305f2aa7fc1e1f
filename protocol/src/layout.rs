//! The body as an endpoint wants it, where another service's receivers expect other members: JSON with placeholders, in
//! the order it is written in.

use std::fmt;

use crate::ascii::{DECIMAL_BYTES, decimal};
use crate::envelope::{write_json_string, write_json_text, write_timestamp_utc};
use crate::event_type::first_segment;
use crate::json::{elements, members};
use crate::template::{InvalidTemplate, Piece, pieces};

/// The longest layout, in bytes.
pub const MAX_BYTES: usize = 16 * 1024;
/// The most objects and arrays within each other.
pub const MAX_DEPTH: usize = 16;

/// A body's members in their order. A string that holds nothing but a placeholder becomes its value: a number for a time
/// in seconds or milliseconds, any JSON for data. A member that depends on what an event lacks is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(Node);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    /// JSON as it stands.
    Constant(String),
    Value(Placeholder),
    /// JSON text of a string, without its quotes, between placeholders.
    Text(Vec<Piece<Placeholder>>),
    /// Keys have their quotes.
    Object(Vec<(String, Node)>),
    Array(Vec<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    Id,
    Type,
    TypeFirst,
    Tenant,
    Key,
    /// RFC 3339, in UTC.
    Timestamp,
    TimestampS,
    TimestampMs,
    Data,
    Previous,
    Changed,
}

/// What an event fills a layout with. `data`, `previous` and `changed` are JSON.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    pub id: &'a str,
    pub event_type: &'a str,
    pub tenant: Option<&'a str>,
    pub key: Option<&'a str>,
    /// Microseconds since 1970.
    pub unix_us: i64,
    pub data: Option<&'a str>,
    pub previous: Option<&'a str>,
    pub changed: Option<&'a str>,
}

impl Layout {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// When it is none, too long or too deep, has a member twice or a template that is not valid.
    pub fn try_new(source: &str) -> Result<Self, InvalidLayout> {
        if source.len() > MAX_BYTES {
            return Err(InvalidLayout::TooLong { bytes: source.len() });
        }
        if source.contains("\\u0000") {
            return Err(InvalidLayout::Nul);
        }
        match read(source, 1)? {
            object @ Node::Object(_) => Ok(Self(object)),
            _ => Err(InvalidLayout::NotAnObject),
        }
    }

    /// Appends the body of an event.
    pub fn write(&self, out: &mut String, values: &Values<'_>) {
        self.0.write(out, values);
    }
}

fn read(source: &str, depth: usize) -> Result<Node, InvalidLayout> {
    let source = source.trim();
    match source.as_bytes().first() {
        Some(b'{' | b'[') if depth > MAX_DEPTH => Err(InvalidLayout::TooDeep),
        Some(b'{') => {
            let mut nodes: Vec<(String, Node)> = Vec::new();
            for (key, value) in members(source).ok_or(InvalidLayout::NotAnObject)? {
                if nodes.iter().any(|(earlier, _)| earlier == key) {
                    return Err(InvalidLayout::Twice(key.to_owned()));
                }
                nodes.push((key.to_owned(), read(value, depth + 1)?));
            }
            Ok(Node::Object(nodes))
        }
        Some(b'[') => {
            let values = elements(source).ok_or(InvalidLayout::NotAnObject)?;
            Ok(Node::Array(values.into_iter().map(|value| read(value, depth + 1)).collect::<Result<_, _>>()?))
        }
        Some(b'"') => read_string(source),
        _ => Ok(Node::Constant(source.to_owned())),
    }
}

fn read_string(source: &str) -> Result<Node, InvalidLayout> {
    let text = source.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default();
    let parts = pieces(text, Placeholder::named).map_err(|invalid| match invalid {
        InvalidTemplate::Unknown(name) => InvalidLayout::Unknown(name),
        invalid => InvalidLayout::Template(invalid),
    })?;
    if let [Piece::Placeholder(alone)] = parts[..] {
        return Ok(Node::Value(alone));
    }
    let json = parts.iter().find_map(|part| match part {
        Piece::Placeholder(placeholder) if placeholder.is_json() => Some(*placeholder),
        _ => None,
    });
    if let Some(placeholder) = json {
        return Err(InvalidLayout::NotAlone(placeholder));
    }
    Ok(match &parts[..] {
        [] => Node::Constant("\"\"".to_owned()),
        [Piece::Text(text)] => Node::Constant(format!("\"{text}\"")),
        _ => Node::Text(parts),
    })
}

impl Node {
    /// Appends it; false, and nothing that counts, where the event lacks what it depends on.
    fn write(&self, out: &mut String, values: &Values<'_>) -> bool {
        match self {
            Self::Constant(json) => out.push_str(json),
            Self::Value(placeholder) => return placeholder.write_value(out, values),
            Self::Text(parts) => {
                out.push('"');
                for part in parts {
                    let is_there = match part {
                        Piece::Text(text) => {
                            out.push_str(text);
                            true
                        }
                        Piece::Placeholder(placeholder) => placeholder.write_text(out, values),
                    };
                    if !is_there {
                        return false;
                    }
                }
                out.push('"');
            }
            Self::Object(nodes) => {
                write_list(out, '{', '}', nodes, |out, (key, node)| {
                    out.push_str(key);
                    out.push(':');
                    node.write(out, values)
                });
            }
            Self::Array(nodes) => write_list(out, '[', ']', nodes, |out, node| node.write(out, values)),
        }
        true
    }
}

/// Appends those of the items that are there.
fn write_list<T>(
    out: &mut String,
    open: char,
    close: char,
    items: &[T],
    write: impl Fn(&mut String, &T) -> bool,
) {
    out.push(open);
    let first = out.len();
    for item in items {
        let before = out.len();
        if before > first {
            out.push(',');
        }
        if !write(out, item) {
            out.truncate(before);
        }
    }
    out.push(close);
}

impl Placeholder {
    const ALL: [(&'static str, Self); 11] = [
        ("id", Self::Id),
        ("type", Self::Type),
        ("type_first", Self::TypeFirst),
        ("tenant", Self::Tenant),
        ("key", Self::Key),
        ("timestamp", Self::Timestamp),
        ("timestamp_s", Self::TimestampS),
        ("timestamp_ms", Self::TimestampMs),
        ("data", Self::Data),
        ("previous", Self::Previous),
        ("changed", Self::Changed),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, placeholder)| placeholder)
    }

    fn is_json(self) -> bool {
        matches!(self, Self::Data | Self::Previous | Self::Changed)
    }

    fn write_value(self, out: &mut String, values: &Values<'_>) -> bool {
        match self {
            Self::TimestampS | Self::TimestampMs => self.write_text(out, values),
            _ if self.is_json() => self.text(values).map(|json| out.push_str(json)).is_some(),
            Self::Timestamp => {
                out.push('"');
                write_timestamp_utc(out, values.unix_us);
                out.push('"');
                true
            }
            _ => self.text(values).map(|text| write_json_string(out, text)).is_some(),
        }
    }

    /// Within a string.
    fn write_text(self, out: &mut String, values: &Values<'_>) -> bool {
        let mut buffer = [0; DECIMAL_BYTES];
        match self {
            Self::Timestamp => write_timestamp_utc(out, values.unix_us),
            Self::TimestampS => out.push_str(decimal(values.unix_us.div_euclid(1_000_000), &mut buffer)),
            Self::TimestampMs => out.push_str(decimal(values.unix_us.div_euclid(1000), &mut buffer)),
            _ => return self.text(values).map(|text| write_json_text(out, text)).is_some(),
        }
        true
    }

    fn text<'a>(self, values: &Values<'a>) -> Option<&'a str> {
        match self {
            Self::Id => Some(values.id),
            Self::Type => Some(values.event_type),
            Self::TypeFirst => Some(first_segment(values.event_type)),
            Self::Tenant => values.tenant,
            Self::Key => values.key,
            Self::Data => values.data,
            Self::Previous => values.previous,
            Self::Changed => values.changed,
            Self::Timestamp | Self::TimestampS | Self::TimestampMs => None,
        }
    }
}

/// With its braces.
impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", Self::ALL[*self as usize].0)
    }
}

/// Why a layout is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidLayout {
    NotAnObject,
    TooLong {
        bytes: usize,
    },
    TooDeep,
    /// A key, with its quotes.
    Twice(String),
    NotAlone(Placeholder),
    Unknown(String),
    Nul,
    Template(InvalidTemplate),
}

impl fmt::Display for InvalidLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => f.write_str("it is an object"),
            Self::TooLong { bytes } => write!(f, "{bytes} bytes: it has at most {MAX_BYTES}"),
            Self::TooDeep => write!(f, "it has at most {MAX_DEPTH} objects and arrays within each other"),
            Self::Twice(key) => write!(f, "member {key} is there twice"),
            Self::NotAlone(placeholder) => {
                write!(f, "{placeholder} is JSON: it stands alone, as in \"{placeholder}\"")
            }
            Self::Unknown(name) => {
                let known: Vec<&str> = Placeholder::ALL.iter().map(|(known, _)| *known).collect();
                write!(f, "unknown placeholder {name:?}: must be one of {}", known.join(", "))
            }
            Self::Nul => f.write_str("it has no \\u0000: PostgreSQL's text cannot hold it"),
            Self::Template(invalid) => invalid.fmt(f),
        }
    }
}

impl std::error::Error for InvalidLayout {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VALUES: Values<'_> = Values {
        id: "0198",
        event_type: "order.paid",
        tenant: Some("Zoë \"&\" Co"),
        key: None,
        unix_us: 1_795_218_334_123_456,
        data: Some("{\"n\": 1}"),
        previous: None,
        changed: Some("[\"n\"]"),
    };

    #[track_caller]
    fn check(layout: &str, expected: &str) {
        let mut out = String::new();
        Layout::try_new(layout).unwrap().write(&mut out, &VALUES);
        assert_eq!(out, expected);
    }

    #[test]
    fn members_keep_their_order_and_form() {
        check(
            r#"{"id": "evt_{id}", "type": "{type}", "created_at": "{timestamp}", "data": "{data}"}"#,
            r#"{"id":"evt_0198","type":"order.paid","created_at":"2026-11-20T23:45:34.123456Z","data":{"n": 1}}"#,
        );
        check(
            r#"{"z": 1.50, "api_version": "2024-01-01", "s": "{timestamp_s}", "ms": "{timestamp_ms}", "at": "at {timestamp_s}"}"#,
            r#"{"z":1.50,"api_version":"2024-01-01","s":1795218334,"ms":1795218334123,"at":"at 1795218334"}"#,
        );
        check(
            r#"{"tenant": "{tenant}", "who": "of {tenant}\n", "family": "{type_first}", "{id}": [true, "{changed}", {"deep": "{data}"}]}"#,
            r#"{"tenant":"Zoë \"&\" Co","who":"of Zoë \"&\" Co\n","family":"order","{id}":[true,["n"],{"deep":{"n": 1}}]}"#,
        );
        check(r#"{"a": "{{id}}", "b": "", "c": {}, "d": []}"#, r#"{"a":"{id}","b":"","c":{},"d":[]}"#);
    }

    #[test]
    fn what_an_event_lacks_is_left_out() {
        check(r#"{"previous": "{previous}", "id": "{id}"}"#, r#"{"id":"0198"}"#);
        check(
            r#"{"id": "{id}", "key": "row {key}", "all": ["{key}", 1, "{previous}"]}"#,
            r#"{"id":"0198","all":[1]}"#,
        );
        check(r#"{"key": "{key}"}"#, "{}");
    }

    #[test]
    fn refusals() {
        let deep = format!("{}1{}", "{\"a\":".repeat(MAX_DEPTH + 1), "}".repeat(MAX_DEPTH + 1));
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(MAX_BYTES));
        for (layout, expected) in [
            ("[]", "it is an object"),
            ("\"{data}\"", "it is an object"),
            ("", "it is an object"),
            ("{\"a\": 1", "it is an object"),
            (&long, "16393 bytes: it has at most 16384"),
            (&deep, "it has at most 16 objects and arrays within each other"),
            (r#"{"a": 1, "a": 2}"#, "member \"a\" is there twice"),
            (r#"{"a": "x{data}"}"#, "{data} is JSON: it stands alone, as in \"{data}\""),
            (
                r#"{"a": "{body}"}"#,
                "unknown placeholder \"body\": must be one of id, type, type_first, tenant, key, timestamp, timestamp_s, timestamp_ms, data, previous, changed",
            ),
            (r#"{"a": "\u0000"}"#, "it has no \\u0000: PostgreSQL's text cannot hold it"),
            (r#"{"a": "{id"}"#, "unmatched brace in \"{id\": a brace itself is written {{ or }}"),
        ] {
            let error = Layout::try_new(layout).unwrap_err().to_string();
            assert_eq!(error, expected, "{layout}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_json(key: String, tenant: Option<String>, id in "\\PC{0,20}") {
            let names: Vec<String> = Placeholder::ALL.iter().map(|(name, _)| format!("\"{name}\": \"{{{name}}}\"")).collect();
            let layout = Layout::try_new(&format!("{{{}, \"t\": \"a {{tenant}} {{id}}\"}}", names.join(","))).unwrap();
            let mut out = String::new();
            layout.write(&mut out, &Values { id: &id, tenant: tenant.as_deref(), key: Some(&key), ..VALUES });
            let read: serde_json::Value = serde_json::from_str(&out).unwrap();
            prop_assert_eq!(&read["id"], &id);
            prop_assert_eq!(&read["key"], &key);
            prop_assert_eq!(read.get("tenant").and_then(|tenant| tenant.as_str()), tenant.as_deref());
            prop_assert_eq!(read.get("t").is_some(), tenant.is_some());
        }
    }
}
