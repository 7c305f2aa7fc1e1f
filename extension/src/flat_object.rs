//! JSON objects whose values are all strings, as headers are kept, made jsonb. PostgreSQL's parser makes a copy of each string
//! and a list of them, character by character: for the log of a delivery it took a quarter of what recording costs.
//!
//! The bytes are those that PostgreSQL would make itself (utils/jsonb.h: JsonbContainer, JEntry); they are its format on disk.

/// Of an entry that has where it ends, instead of how long it is.
const HAS_END: u32 = 0x8000_0000;
/// Every so many entries one has where it ends.
const STRIDE: usize = 32;
/// Of a container that is an object.
const IS_OBJECT: u32 = 0x2000_0000;
/// What is longer is left to PostgreSQL: it knows when to refuse.
const MOST_BYTES: usize = 1 << 20;

/// The container of a jsonb, as u32 in the machine's order and strings after them. None for anything but a plain object of
/// strings without escapes: PostgreSQL is to judge that.
pub fn container(json: &[u8]) -> Option<Vec<u8>> {
    let mut members = members(json)?;
    // The later of two with one name counts.
    members.reverse();
    members.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    members.dedup_by(|(a, _), (b, _)| a == b);
    let strings = || members.iter().map(|(name, _)| name).chain(members.iter().map(|(_, value)| value));
    let mut bytes = Vec::with_capacity(4 + 8 * members.len() + json.len());
    bytes.extend_from_slice(&(members.len() as u32 | IS_OBJECT).to_ne_bytes());
    let mut end = 0;
    for (place, string) in strings().enumerate() {
        end += string.len() as u32;
        let entry = if place % STRIDE == 0 { end | HAS_END } else { string.len() as u32 };
        bytes.extend_from_slice(&entry.to_ne_bytes());
    }
    for string in strings() {
        bytes.extend_from_slice(string);
    }
    Some(bytes)
}

/// A name and its value, or a string and what follows it.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// Names and values, in the order they are written in.
fn members(json: &[u8]) -> Option<Vec<Pair<'_>>> {
    if json.len() > MOST_BYTES {
        return None;
    }
    let mut rest = json.strip_prefix(b"{")?;
    let mut members = Vec::with_capacity(16);
    if rest == b"}" {
        return Some(members);
    }
    loop {
        let (name, after) = string(rest)?;
        let (value, after) = string(after.strip_prefix(b":")?)?;
        members.push((name, value));
        if after == b"}" {
            return Some(members);
        }
        rest = after.strip_prefix(b",")?;
    }
}

/// A string without escapes at the beginning, and what follows it.
fn string(json: &[u8]) -> Option<Pair<'_>> {
    let text = json.strip_prefix(b"\"")?;
    let end = text.iter().position(|byte| *byte == b'"' || *byte == b'\\' || *byte < b' ')?;
    let (text, rest) = text.split_at(end);
    Some((text, rest.strip_prefix(b"\"")?))
}
