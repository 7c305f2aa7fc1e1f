//! The Retry-After header (RFC 9110 section 10.2.3), for the worker: when a receiver asks to be called again.

use std::time::UNIX_EPOCH;

/// Ten years in seconds: no wait asked for is longer.
const LONGEST_S: f64 = 10.0 * 365.25 * 86_400.0;

/// Reads a Retry-After value, a number of seconds or an HTTP date, as seconds from `now_unix_s`.
///
/// A date that has passed is 0; anything beyond ten years is ten years; what is neither form is `None`.
pub fn parse(value: &str, now_unix_s: i64) -> Option<f64> {
    let value = value.trim_matches([' ', '\t']);
    if value.is_empty() {
        return None;
    }
    if value.bytes().all(|b| b.is_ascii_digit()) {
        // Digits always parse; too many of them become infinity, and that is clamped.
        return Some(value.parse::<f64>().ok()?.min(LONGEST_S));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    // HTTP dates know no year before 1970 (httpdate refuses them).
    let date_unix_s = i64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    Some((date_unix_s.saturating_sub(now_unix_s).max(0) as f64).min(LONGEST_S))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110 section 5.6.7.
    const NOW_UNIX_S: i64 = 784_111_777;

    #[test]
    fn both_forms_and_neither() {
        let check = |value, expect| assert_eq!(parse(value, NOW_UNIX_S), expect, "{value:?}");
        check("0", Some(0.0));
        check("120", Some(120.0));
        check("  120\t", Some(120.0));
        check("007", Some(7.0));
        check("315576000", Some(LONGEST_S));
        check("315576001", Some(LONGEST_S));
        check("99999999999999999999999999", Some(LONGEST_S));
        let endless = "9".repeat(5000);
        check(&endless, Some(LONGEST_S));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(0.0));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(60.0));
        check("Sunday, 06-Nov-94 08:50:37 GMT", Some(60.0));
        check("Sun Nov  6 08:50:37 1994", Some(60.0));
        check("Sun, 06 Nov 1994 08:49:36 GMT", Some(0.0));
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0.0));
        check("Fri, 31 Dec 9999 23:59:59 GMT", Some(LONGEST_S));
        for junk in [
            "",
            " ",
            "-1",
            "+1",
            "1.5",
            "1e3",
            "0x10",
            "1 2",
            "120s",
            "120, 60",
            "inf",
            "nan",
            "soon",
            "١٢",
            "2026-01-01T00:00:00Z",
            "Sun, 06 Nov 1994",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "\n5",
        ] {
            check(junk, None);
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_a_sane_wait(value in "[ -~]{0,40}|[0-9]{0,400}", now in any::<i64>()) {
            if let Some(s) = parse(&value, now) {
                prop_assert!((0.0..=LONGEST_S).contains(&s), "{value:?} {now}: {s}");
            }
        }

        #[test]
        fn a_date_made_is_read_back(ahead in 0i64..86_400 * 3650) {
            let at = UNIX_EPOCH + std::time::Duration::from_secs((NOW_UNIX_S + ahead) as u64);
            prop_assert_eq!(parse(&httpdate::fmt_http_date(at), NOW_UNIX_S), Some(ahead as f64));
        }
    }
}
