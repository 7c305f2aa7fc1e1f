//! Times of events, RFC 3339 in UTC as their bodies have them.

/// Microseconds since 1970 of `2026-01-02T03:04:05.678901Z` or `…+00:00`.
pub fn parse_us(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00"))?;
    let (date, time) = text.split_once(['T', ' '])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let micros: i64 = digits.parse().ok()?;
    let valid =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    valid.then(|| {
        ((days(year, month, day) * 24 + hour) * 60 + minute) * 60_000_000 + second * 1_000_000 + micros
    })
}

/// Days since 1970-01-01 in the Gregorian calendar. Years begin in March, so that the odd day comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::parse_us;

    #[test]
    fn known_times() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00.5Z", Some(951_825_600_500_000)),
            ("2026-11-21T00:50:34.123456Z", Some(1_795_222_234_123_456)),
            ("2026-11-21T00:50:34.123456+00:00", Some(1_795_222_234_123_456)),
            ("1969-12-31T23:59:59.999999Z", Some(-1)),
            ("2026-13-01T00:00:00Z", None),
            ("2026-11-21 00:50:34", None),
            ("", None),
        ] {
            assert_eq!(parse_us(text), expected, "{text}");
        }
    }
}
