//! What went wrong with a request, in words for the log: `dns: …`, `connect: …`, `tls: …`, `refused address: …`,
//! `timeout after 30 s while …`, `protocol: …`. Only causes are told, never the URL or anything that was sent.

use super::phase::Phase;
use super::resolver::NoAddress;
use std::error::Error;
use std::io;
use std::time::Duration;

/// Causes are told up to so many characters: some come from the other side.
const LONGEST: usize = 300;

pub fn timeout(after: Duration, phase: Phase) -> String {
    format!("timeout after {} s while {}", after.as_secs_f64(), phase.waiting_for())
}

pub fn text(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut last = None;
    while let Some(error) = cause {
        if let Some(found) = known(error) {
            return shorten(found);
        }
        last = Some(error.to_string());
        cause = inner(error);
    }
    let kind = if error.is_connect() { "connect" } else { "protocol" };
    shorten(format!("{kind}: {}", last.unwrap_or_else(|| "the request failed".to_owned())))
}

/// The host was looked up, and can't be reached from the client's source address.
pub fn fits_no_source(error: &reqwest::Error) -> bool {
    let causes = std::iter::successors(error.source(), |error| inner(*error));
    causes.into_iter().any(|error| matches!(error.downcast_ref(), Some(NoAddress::FitsNoSource(_))))
}

/// `io::Error` hides what it was made of behind itself.
fn inner<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source())
}

fn known(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(no_address) = error.downcast_ref::<NoAddress>() {
        return Some(no_address.to_string());
    }
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(format!("tls: {tls}"));
    }
    if let Some(io) = error.downcast_ref::<io::Error>()
        && io.get_ref().is_none()
    {
        let text = io.to_string().to_lowercase();
        return Some(match io.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                format!("protocol: {text}")
            }
            _ => format!("connect: {text}"),
        });
    }
    None
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_waited_for() {
        let text = timeout(Duration::from_millis(1_500), Phase::Body);
        assert_eq!(text, "timeout after 1.5 s while reading the answer");
        assert_eq!(shorten("ä".repeat(400)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn finds_the_cause_within_io_errors() {
        let tls = io::Error::other(rustls::Error::DecryptError);
        let outer = io::Error::other(tls);
        let mut cause: Option<&(dyn Error + 'static)> = Some(&outer);
        let mut found = None;
        while let Some(error) = cause {
            found = known(error);
            if found.is_some() {
                break;
            }
            cause = inner(error);
        }
        assert!(found.unwrap().starts_with("tls: "));
    }
}
