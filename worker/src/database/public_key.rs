//! The public key within a certificate that rustls does not read.

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
/// Of a certificate: [0], explicit.
const VERSION: u8 = 0xA0;

/// The SubjectPublicKeyInfo of an X.509 certificate of any version (RFC 5280, 4.1), in DER; None if it is none.
pub fn of_certificate(certificate: &[u8]) -> Option<&[u8]> {
    let (_, certificate, _) = element(certificate, SEQUENCE)?;
    let (_, mut rest, _) = element(certificate, SEQUENCE)?;
    // Only versions 2 and 3 are told.
    if rest.first() == Some(&VERSION) {
        rest = element(rest, VERSION)?.2;
    }
    // Serial number, signature's algorithm, issuer, validity, subject.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        rest = element(rest, tag)?.2;
    }
    Some(element(rest, SEQUENCE)?.0)
}

/// The first element, if it has this tag: whole, its content, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, following) = rest.split_at_checked(length)?;
    (found == tag).then(|| (&der[..der.len() - following.len()], content, following))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl req -new | openssl x509 -req`, as the PostgreSQL manual has it: version 1.
    const VERSION_1: &str = "3082011a3081c1021441f94e80c0fae1bec4dfcf4f74720914d8f89a83300a06082a8648ce3d040302300c310a3008060355\
        04030c0172301e170d3236313132313031353230345a170d3237313132313031353230345a30143112301006035504030c09\
        6c6f63616c686f73743059301306072a8648ce3d020106082a8648ce3d03010703420004844a1c6646ee99280c9614f77b4f\
        b0c215c0041e65f13fb68d9c2bd944aa7c27b7a91684f12da9ae3da39c0fac916346fc73cdf2c897f97bb86ae604b13bacfe\
        300a06082a8648ce3d04030203480030450220234ea1ff271347015b3531d1b24dc416ce5a56329310acdaec96b9cbe7163f\
        bc022100e629702404d46651588eea8f4cecdbb4bb1fbf520f353b013500301f10ebc2d0";

    #[test]
    fn finds_the_key() {
        let der: Vec<u8> = (0..VERSION_1.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&VERSION_1[at..at + 2], 16).unwrap())
            .collect();
        let key = of_certificate(&der).unwrap();
        assert_eq!((key[0], key.len()), (SEQUENCE, 91));
        for length in 0..der.len() {
            assert!(of_certificate(&der[..length]).is_none(), "cut at {length}");
        }
        assert!(of_certificate(b"no certificate").is_none());
    }
}
