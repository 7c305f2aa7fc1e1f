//! The body of a request, for `webhook_emit`: what is signed, stored and sent, byte for byte
//! (Standard Webhooks, "Payload structure").

use crate::ascii::{as_str, digit, hex_digit};
use crate::json::members;

/// Appends `{"id":…,"type":…,"timestamp":…,"data":…}`, and for an update `"previous"` and `"changed"` after the data.
///
/// `data`, `previous` and `changed` are JSON texts and are taken as they stand; the others become JSON strings.
pub fn write_body(
    out: &mut String,
    id: &str,
    event_type: &str,
    timestamp: &str,
    data: &str,
    previous: Option<&str>,
    changed: Option<&str>,
) {
    let json_bytes = data.len() + previous.map_or(0, str::len) + changed.map_or(0, str::len);
    out.reserve(json_bytes + id.len() + event_type.len() + timestamp.len() + 80);
    out.push_str("{\"id\":");
    write_json_string(out, id);
    out.push_str(",\"type\":");
    write_json_string(out, event_type);
    out.push_str(",\"timestamp\":");
    write_json_string(out, timestamp);
    out.push_str(",\"data\":");
    out.push_str(data);
    for (name, json) in [(",\"previous\":", previous), (",\"changed\":", changed)] {
        if let Some(json) = json {
            out.push_str(name);
            out.push_str(json);
        }
    }
    out.push('}');
}

/// The JSON in a body that [`write_body`] wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts<'a> {
    pub data: Option<&'a str>,
    pub previous: Option<&'a str>,
    pub changed: Option<&'a str>,
}

/// Finds them; in another text there are none.
#[must_use]
pub fn parts(body: &str) -> Parts<'_> {
    let mut parts = Parts::default();
    for (key, value) in members(body).unwrap_or_default() {
        match key {
            "\"data\"" => parts.data = Some(value),
            "\"previous\"" => parts.previous = Some(value),
            "\"changed\"" => parts.changed = Some(value),
            _ => {}
        }
    }
    parts
}

/// Appends `text` as a JSON string, escaped exactly as PostgreSQL's `escape_json` does.
pub fn write_json_string(out: &mut String, text: &str) {
    out.push('"');
    write_json_text(out, text);
    out.push('"');
}

/// The same without quotes, for a part of a string.
pub(crate) fn write_json_text(out: &mut String, text: &str) {
    let bytes = text.as_bytes();
    let mut written = 0;
    while let Some(found) = first_escaped(&bytes[written..]) {
        let at = written + found;
        // An escaped byte is ASCII: both ends of the slice are boundaries of characters.
        out.push_str(&text[written..at]);
        written = at + 1;
        match bytes[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x08 => out.push_str("\\b"),
            0x0c => out.push_str("\\f"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            byte => {
                out.push_str("\\u00");
                out.push(char::from(hex_digit(byte >> 4)));
                out.push(char::from(hex_digit(byte & 15)));
            }
        }
    }
    out.push_str(&text[written..]);
}

/// Where the first byte is that a JSON string does not hold as it is.
fn first_escaped(bytes: &[u8]) -> Option<usize> {
    /// As many as processors look at side by side: no branch within.
    const AT_ONCE: usize = 32;
    let is_escaped = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    let has_one = |chunk: &[u8]| chunk.iter().fold(false, |any, byte| any | is_escaped(*byte));
    let plain = bytes.chunks(AT_ONCE).take_while(|chunk| !has_one(chunk)).count() * AT_ONCE;
    let rest = bytes.get(plain..)?;
    rest.iter().position(|byte| is_escaped(*byte)).map(|at| plain + at)
}

/// Appends a time, given in microseconds since 1970, as `2026-11-20T23:45:34.123456Z` (RFC 3339). Years outside
/// 0000–9999 are written as in ISO 8601's expanded form: a sign and at least four digits.
pub fn write_timestamp_utc(out: &mut String, unix_us: i64) {
    const US_PER_DAY: i64 = 86_400_000_000;
    let (year, month, day) = civil_date(unix_us.div_euclid(US_PER_DAY));
    let us_of_day = unix_us.rem_euclid(US_PER_DAY).unsigned_abs();
    if let Ok(year @ 0..=9999) = u64::try_from(year) {
        let text = [digit(year / 1000), digit(year / 100), digit(year / 10), digit(year)];
        out.push_str(as_str(&text));
    } else {
        out.push_str(&format!("{year:+05}"));
    }
    let mut text = *b"-00-00T00:00:00.000000Z";
    let seconds = us_of_day / 1_000_000;
    for (at, value) in
        [(1, month), (4, day), (7, seconds / 3600), (10, seconds / 60 % 60), (13, seconds % 60)]
    {
        text[at] = digit(value / 10);
        text[at + 1] = digit(value);
    }
    let mut us = us_of_day % 1_000_000;
    for place in text[16..22].iter_mut().rev() {
        *place = digit(us);
        us /= 10;
    }
    out.push_str(as_str(&text));
}

/// The proleptic Gregorian date of a number of days since 1970: years are counted from 1 March, so that the leap day
/// is the last of its year, in cycles of 400 years.
fn civil_date(days_since_1970: i64) -> (i64, u64, u64) {
    const DAYS_TO_1970: i64 = 719_468;
    const DAYS_PER_CYCLE: i64 = 146_097;
    let days = days_since_1970 + DAYS_TO_1970;
    let day_of_cycle = days.rem_euclid(DAYS_PER_CYCLE);
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = if months_since_march < 10 { months_since_march + 3 } else { months_since_march - 9 };
    let year = days.div_euclid(DAYS_PER_CYCLE) * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month.unsigned_abs(), day.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json_string(text: &str) -> String {
        let mut out = String::new();
        write_json_string(&mut out, text);
        out
    }

    fn timestamp(unix_us: i64) -> String {
        let mut out = String::new();
        write_timestamp_utc(&mut out, unix_us);
        out
    }

    #[test]
    fn bodies() {
        let mut out = String::new();
        write_body(&mut out, "i", "a.b", "t", "{\"x\": 1}", None, None);
        assert_eq!(out, r#"{"id":"i","type":"a.b","timestamp":"t","data":{"x": 1}}"#);
        out.clear();
        write_body(&mut out, "i", "a.b", "t", "null", Some("{\"x\": 0}"), Some("[\"x\"]"));
        assert_eq!(
            out,
            r#"{"id":"i","type":"a.b","timestamp":"t","data":null,"previous":{"x": 0},"changed":["x"]}"#
        );
    }

    #[test]
    fn parts_of_a_body() {
        let mut out = String::new();
        let data = r#"{"data": "}", "previous": [1]}"#;
        write_body(&mut out, "\"data\":1", "a.b", "t", data, Some("{\"x\": 0}"), Some("[\"x\"]"));
        let expected = Parts { data: Some(data), previous: Some("{\"x\": 0}"), changed: Some("[\"x\"]") };
        assert_eq!(parts(&out), expected);
        out.clear();
        write_body(&mut out, "i", "a.b", "t", "1", None, None);
        assert_eq!(parts(&out), Parts { data: Some("1"), previous: None, changed: None });
        assert_eq!(parts("no body"), Parts::default());
    }

    #[test]
    fn escapes_of_postgresql() {
        for (text, expected) in [
            ("", r#""""#),
            ("plain é 漢 \u{1f600} / '", "\"plain é 漢 \u{1f600} / '\""),
            ("\"\\", r#""\"\\""#),
            ("\u{8}\u{c}\n\r\t", r#""\b\f\n\r\t""#),
            ("\u{0}\u{1}\u{b}\u{1f}", r#""\u0000\u0001\u000b\u001f""#),
            ("\u{7f}\u{80}\u{2028}", "\"\u{7f}\u{80}\u{2028}\""),
            ("a\nb", r#""a\nb""#),
        ] {
            assert_eq!(json_string(text), expected);
        }
    }

    #[test]
    fn timestamps() {
        for (unix_us, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (1_795_218_334_123_456, "2026-11-20T23:45:34.123456Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (4_107_542_399_999_999, "2100-02-28T23:59:59.999999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
            (253_402_300_800_000_000, "+10000-01-01T00:00:00.000000Z"),
            (-62_167_219_200_000_000, "0000-01-01T00:00:00.000000Z"),
            (-62_167_219_200_000_001, "-0001-12-31T23:59:59.999999Z"),
            (i64::MAX, "+294247-01-10T04:00:54.775807Z"),
            (i64::MIN, "-290308-12-21T19:59:05.224192Z"),
        ] {
            assert_eq!(timestamp(unix_us), expected);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = (1600, 1, 1);
        for day in -135_140..135_140 {
            assert_eq!(civil_date(day), expected);
            let (year, month, day) = expected;
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            expected = match (day == days[month as usize - 1], month == 12) {
                (false, _) => (year, month, day + 1),
                (true, false) => (year, month + 1, 1),
                (true, true) => (year + 1, 1, 1),
            };
        }
    }

    proptest! {
        #[test]
        fn a_json_string_reads_back(text in "(\\PC|[\\x00-\\x20\"\\\\]){0,40}") {
            prop_assert_eq!(serde_json::from_str::<String>(&json_string(&text)).unwrap(), text);
        }

        #[test]
        fn what_is_escaped_is_found_wherever_it_stands(
            parts in prop::collection::vec(("[ a-z\u{e9}]{0,70}", "[\\x00-\\x1f\"\\\\]?"), 0..4),
        ) {
            let text: String = parts.into_iter().map(|(plain, escaped)| plain + &escaped).collect();
            prop_assert_eq!(serde_json::from_str::<String>(&json_string(&text)).unwrap(), text);
        }

        #[test]
        fn timestamps_sort_as_their_text(a in 0..253_402_300_800_000_000i64, b in 0..253_402_300_800_000_000i64) {
            prop_assert_eq!(a.cmp(&b), timestamp(a).cmp(&timestamp(b)));
        }
    }
}
