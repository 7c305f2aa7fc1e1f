//! What is kept of an answer: at most so much, and nothing that text or jsonb refuse.

use crate::config::push_pair;
use reqwest::Response;
use reqwest::header::HeaderMap;
use std::borrow::Cow;

/// Of all header names and values together; what is beyond is not kept.
const HEADERS_CAP_BYTES: usize = 8 << 10;

/// As a JSON object. Several values of one name are joined by a comma, as RFC 9110 has it.
pub fn headers_json(headers: &HeaderMap) -> String {
    let mut json = String::with_capacity(256);
    json.push('{');
    let mut kept = 0;
    // The values of one name come one after the other.
    let mut pairs = headers.iter().peekable();
    while let Some((name, value)) = pairs.next() {
        let mut values = Cow::Borrowed(value.as_bytes());
        while let Some((_, value)) = pairs.next_if(|(next, _)| *next == name) {
            values.to_mut().extend_from_slice(b", ");
            values.to_mut().extend_from_slice(value.as_bytes());
        }
        let bytes = name.as_str().len() + values.len();
        if kept + bytes > HEADERS_CAP_BYTES {
            continue;
        }
        kept += bytes;
        if json.len() > 1 {
            json.push(',');
        }
        push_pair(&mut json, name.as_str(), &clean(&values));
    }
    json.push('}');
    json
}

/// Of a body, up to `cap_bytes`, whatever has come so far.
pub struct Body {
    kept: Vec<u8>,
    cap_bytes: usize,
}

impl Body {
    pub fn new(cap_bytes: usize) -> Body {
        Body { kept: Vec::new(), cap_bytes }
    }

    /// Reads to the end or the cap. What is beyond is not read: the connection is closed with the answer.
    pub async fn read(&mut self, response: &mut Response) -> Result<(), reqwest::Error> {
        while let Some(chunk) = response.chunk().await? {
            let room = self.cap_bytes - self.kept.len();
            self.kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                break;
            }
        }
        Ok(())
    }

    /// Cut between characters, or the last one would show as broken.
    pub fn text(mut self) -> String {
        if self.kept.len() == self.cap_bytes {
            let last = self.kept.iter().rposition(|byte| byte & 0xC0 != 0x80).unwrap_or(0);
            if std::str::from_utf8(&self.kept[last..]).is_err_and(|error| error.error_len().is_none()) {
                self.kept.truncate(last);
            }
        }
        clean(&self.kept).into_owned()
    }
}

/// Invalid UTF-8, and NUL, become U+FFFD.
fn clean(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if text.contains('\0') { text.replace('\0', "\u{FFFD}").into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};
    use serde_json::{Value, json};

    #[test]
    fn headers_are_kept_as_json_up_to_a_cap() {
        let mut headers = HeaderMap::new();
        headers.append("set-cookie", HeaderValue::from_static("a=1"));
        headers.append("set-cookie", HeaderValue::from_static("b=\"2\""));
        headers.insert("x-bytes", HeaderValue::from_bytes(b"\xFFok").unwrap());
        for n in 0..100 {
            let name = HeaderName::from_bytes(format!("x-flood-{n}").as_bytes()).unwrap();
            headers.insert(name, HeaderValue::from_str(&"y".repeat(1_000)).unwrap());
        }
        let json = headers_json(&headers);
        assert!(json.len() < HEADERS_CAP_BYTES + 1_000);
        let kept: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(kept["set-cookie"], json!("a=1, b=\"2\""));
        assert_eq!(kept["x-bytes"], json!("\u{FFFD}ok"));
    }

    #[test]
    fn nothing_is_left_that_postgresql_refuses() {
        assert_eq!(clean(b"a\0b\xC3"), "a\u{FFFD}b\u{FFFD}");
    }

    #[test]
    fn bodies_are_cut_between_characters() {
        for (kept, cap_bytes, text) in [
            ("aä".as_bytes(), 3, "aä"),
            (&"aä".as_bytes()[..2], 2, "a"),
            (b"a\xC3", 9, "a\u{FFFD}"),
            (b"a\xFF", 2, "a\u{FFFD}"),
        ] {
            assert_eq!(Body { kept: kept.to_vec(), cap_bytes }.text(), text);
        }
    }
}
