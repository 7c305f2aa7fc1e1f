//! The parts of a JSON text, each as it stands: for bodies, which are sent byte for byte, and envelopes, whose members
//! keep their order. What is valid JSON comes from PostgreSQL; of anything else nothing is read.

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Keys, with their quotes, and values of an object, in their order.
pub(crate) fn members(object: &str) -> Option<Vec<(&str, &str)>> {
    let mut members = Vec::new();
    let mut rest = inside(object, '{', '}')?;
    while !rest.is_empty() {
        let (key, after) = split_value(rest)?;
        let (value, after) =
            split_value(after.strip_prefix(':').filter(|_| key.starts_with('"'))?.trim_start_matches(SPACE))?;
        members.push((key, value));
        rest = next(after)?;
    }
    Some(members)
}

/// The elements of an array.
pub(crate) fn elements(array: &str) -> Option<Vec<&str>> {
    let mut elements = Vec::new();
    let mut rest = inside(array, '[', ']')?;
    while !rest.is_empty() {
        let (value, after) = split_value(rest)?;
        elements.push(value);
        rest = next(after)?;
    }
    Some(elements)
}

fn inside(text: &str, open: char, close: char) -> Option<&str> {
    Some(text.trim_matches(SPACE).strip_prefix(open)?.strip_suffix(close)?.trim_matches(SPACE))
}

/// What follows a comma; nothing at the end.
fn next(rest: &str) -> Option<&str> {
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix(',').map(|rest| rest.trim_start_matches(SPACE)).filter(|rest| !rest.is_empty())
}

/// The value at the beginning, and what follows it and spaces.
fn split_value(text: &str) -> Option<(&str, &str)> {
    let (value, rest) = text.split_at_checked(end_of_value(text.as_bytes())?)?;
    Some((value, rest.trim_start_matches(SPACE)))
}

fn end_of_value(text: &[u8]) -> Option<usize> {
    if !matches!(text.first()?, b'"' | b'{' | b'[') {
        let end = text.iter().position(|byte| b",:]} \t\r\n".contains(byte)).unwrap_or(text.len());
        return (end > 0).then_some(end);
    }
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        match text.get(at)? {
            b'"' => at += end_of_string(&text[at..])?,
            b'{' | b'[' => (depth, at) = (depth + 1, at + 1),
            b'}' | b']' => (depth, at) = (depth.checked_sub(1)?, at + 1),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

fn end_of_string(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_as_they_stand() {
        let text = " {\"b\" : [1, {\"x\": \"]}\"}],\"a\\\"\":\"\\\\\", \"c\":-1.50e3 ,\"é\":null} ";
        let expected = vec![
            ("\"b\"", "[1, {\"x\": \"]}\"}]"),
            ("\"a\\\"\"", "\"\\\\\""),
            ("\"c\"", "-1.50e3"),
            ("\"é\"", "null"),
        ];
        assert_eq!(members(text), Some(expected));
        assert_eq!(elements("[ 1 ,\"a,b\", [], {} ]"), Some(vec!["1", "\"a,b\"", "[]", "{}"]));
        assert_eq!((members("{ }"), elements("[]")), (Some(vec![]), Some(vec![])));
    }

    #[test]
    fn nothing_is_read_of_what_is_no_json() {
        for text in [
            "",
            "{",
            "{}}",
            "[]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1 2}",
            "{a:1}",
            "{\"a\":\"}",
            "{\"a\":[}",
        ] {
            assert_eq!(members(text), None, "{text}");
        }
        for text in ["", "{}", "[1,]", "[,1]", "[1 2]", "[\"\\\"]"] {
            assert_eq!(elements(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\",:\\\\ aé1]{0,20}") {
            let _ = (members(&text), elements(&text));
        }
    }
}
