//! Numbers and bytes as text, in buffers of the caller: every event and every signature needs some, none of them an
//! allocation.

/// The length of the longest `i64` in decimal, sign included.
pub(crate) const DECIMAL_BYTES: usize = 20;

/// `value` in decimal, at the end of `buffer`.
pub(crate) fn decimal(value: i64, buffer: &mut [u8; DECIMAL_BYTES]) -> &str {
    let mut rest = value.unsigned_abs();
    let mut start = DECIMAL_BYTES;
    loop {
        start -= 1;
        buffer[start] = digit(rest);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        start -= 1;
        buffer[start] = b'-';
    }
    as_str(&buffer[start..])
}

/// The last decimal digit of `value`.
pub(crate) fn digit(value: u64) -> u8 {
    b'0' + (value % 10) as u8
}

/// `bytes` in lower-case hex, two digits each, into a `buffer` of exactly twice their length.
pub(crate) fn hex<'b>(bytes: &[u8], buffer: &'b mut [u8]) -> &'b str {
    assert_eq!(buffer.len(), bytes.len() * 2);
    for (pair, byte) in buffer.chunks_exact_mut(2).zip(bytes) {
        pair[0] = hex_digit(byte >> 4);
        pair[1] = hex_digit(byte & 15);
    }
    as_str(buffer)
}

/// The bytes that lower-case hex stands for, exactly as many as `bytes` takes.
pub(crate) fn unhex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let value = |digit: u8| char::from(digit).to_digit(16).filter(|_| !digit.is_ascii_uppercase());
    if text.len() != bytes.len() * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = (value(pair[0])? << 4 | value(pair[1])?) as u8;
    }
    Some(())
}

/// The lower-case hex digit of a value below 16.
pub(crate) fn hex_digit(value: u8) -> u8 {
    b"0123456789abcdef"[usize::from(value)]
}

/// What this module and its users wrote themselves, and wrote in ASCII.
pub(crate) fn as_str(ascii: &[u8]) -> &str {
    std::str::from_utf8(ascii).expect("ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extremes() {
        for value in [i64::MIN, -1, 0, 9, 10, i64::MAX] {
            assert_eq!(decimal(value, &mut [0; DECIMAL_BYTES]), value.to_string());
        }
        assert_eq!(hex(&[0x00, 0xff, 0x0a, 0xa0], &mut [0; 8]), "00ff0aa0");
    }

    #[test]
    fn hex_reads_back() {
        let mut bytes = [0; 4];
        assert_eq!((unhex("00ff0aa0", &mut bytes), bytes), (Some(()), [0x00, 0xff, 0x0a, 0xa0]));
        for wrong in ["00FF0AA0", "00ff0aa", "00ff0aa00", "00ff0ag0", "é0ff0a"] {
            assert_eq!(unhex(wrong, &mut bytes), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn decimal_is_display(value: i64) {
            let mut buffer = [0; DECIMAL_BYTES];
            prop_assert_eq!(decimal(value, &mut buffer), value.to_string());
        }
    }
}
