//! Keys that requests are signed and verified with: read from text once, then ready to use.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64, Base64Unpadded, Encoding};
use ed25519_dalek::{SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit};
use sha2::Sha256;

/// How the text of a secret stands for its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyEncoding {
    /// The key is the characters themselves, in UTF-8.
    Raw,
    /// The key in base64, with or without padding.
    Base64,
    /// `whsec_` and the key in base64 (Standard Webhooks, "Signature scheme").
    Whsec,
    /// `whsk_` and an Ed25519 key in base64: its seed, or seed and public key. Who verifies may have `whpk_` and the
    /// public key instead (Standard Webhooks, "Asymmetric signatures").
    Whsk,
}

/// A key, ready to sign with. It can neither be printed nor read back.
#[derive(Clone)]
pub struct Secret(pub(crate) Key);

#[derive(Clone)]
pub(crate) enum Key {
    Hmac(Hmac<Sha256>),
    Ed25519(Box<SigningKey>),
}

impl Secret {
    /// Reads a key of 24 to 64 bytes for `Whsec` (Standard Webhooks, "Signature scheme"), of 32 or 64 for `Whsk`, else of
    /// 1 to 512.
    ///
    /// # Errors
    /// When the text is not of that encoding or the key of another length. The error says which rule is broken and
    /// repeats nothing of the text.
    pub fn parse(text: &str, encoding: KeyEncoding) -> Result<Self, InvalidSecret> {
        match encoding {
            KeyEncoding::Raw => Self::from_key(text.as_bytes(), 1, 512),
            KeyEncoding::Base64 => Self::from_key(&decode_base64(text)?, 1, 512),
            KeyEncoding::Whsec => Self::from_key(&decode_after(WHSEC, text)?, 24, 64),
            KeyEncoding::Whsk => {
                let key = decode_after(WHSK, text)?;
                let (seed, public) = key.split_first_chunk().ok_or(InvalidSecret::NotAKeyPair)?;
                let pair = SigningKey::from_bytes(seed);
                if !public.is_empty() && public != pair.verifying_key().as_bytes() {
                    return Err(InvalidSecret::NotAKeyPair);
                }
                Ok(Self(Key::Ed25519(Box::new(pair))))
            }
        }
    }

    /// `whpk_` and the public key in base64, which receivers verify with; None for a key that is shared with them.
    #[must_use]
    pub fn public_key(&self) -> Option<String> {
        match &self.0 {
            Key::Hmac(_) => None,
            Key::Ed25519(pair) => {
                Some(format!("{WHPK}{}", Base64::encode_string(pair.verifying_key().as_bytes())))
            }
        }
    }

    fn from_key(key: &[u8], min: usize, max: usize) -> Result<Self, InvalidSecret> {
        if !(min..=max).contains(&key.len()) {
            return Err(InvalidSecret::Length { bytes: key.len(), min, max });
        }
        Ok(Self(Key::Hmac(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))))
    }
}

/// What a signature is verified with: the secret it was made with, or the public half of that.
#[derive(Clone)]
pub struct Verifier(pub(crate) Check);

#[derive(Clone)]
pub(crate) enum Check {
    Hmac(Hmac<Sha256>),
    Ed25519(VerifyingKey),
}

impl Verifier {
    /// Reads a secret as [`Secret::parse`] does, for `Whsk` also `whpk_` and a public key.
    ///
    /// # Errors
    /// As for secrets.
    pub fn parse(text: &str, encoding: KeyEncoding) -> Result<Self, InvalidSecret> {
        if encoding != KeyEncoding::Whsk || !text.starts_with(WHPK) {
            return Secret::parse(text, encoding).map(|secret| Self::from(&secret));
        }
        let key = decode_after(WHPK, text)?.try_into().map_err(|_| InvalidSecret::NotAPublicKey)?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| InvalidSecret::NotAPublicKey)?;
        Ok(Self(Check::Ed25519(key)))
    }
}

impl From<&Secret> for Verifier {
    fn from(secret: &Secret) -> Self {
        Self(match &secret.0 {
            Key::Hmac(hmac) => Check::Hmac(hmac.clone()),
            Key::Ed25519(pair) => Check::Ed25519(pair.verifying_key()),
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The text of a new secret; one for `Raw` is random base64 as well. The bytes must come from a cryptographic source.
#[must_use]
pub fn generate(encoding: KeyEncoding, random: [u8; 32]) -> String {
    match encoding {
        KeyEncoding::Raw | KeyEncoding::Base64 => Base64::encode_string(&random),
        KeyEncoding::Whsec => format!("{WHSEC}{}", Base64::encode_string(&random)),
        KeyEncoding::Whsk => {
            format!("{WHSK}{}", Base64::encode_string(&SigningKey::from_bytes(&random).to_keypair_bytes()))
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidSecret {
    NoPrefix(&'static str),
    NotBase64,
    NotAKeyPair,
    NotAPublicKey,
    /// Of the key, not of its text.
    Length {
        bytes: usize,
        min: usize,
        max: usize,
    },
}

impl fmt::Display for InvalidSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPrefix(prefix) => write!(f, "invalid secret: must begin with {prefix}"),
            Self::NotBase64 => f.write_str("invalid secret: must be base64"),
            Self::NotAKeyPair => {
                f.write_str("invalid secret: must be a seed of 32 bytes, or it and its public key, 64 in all")
            }
            Self::NotAPublicKey => f.write_str("invalid public key: must be 32 bytes, a point of Ed25519"),
            Self::Length { bytes, min, max } => {
                write!(f, "invalid secret: a key of {bytes} bytes, must be {min} to {max}")
            }
        }
    }
}

impl std::error::Error for InvalidSecret {}

impl KeyEncoding {
    const ALL: [(&'static str, Self); 4] =
        [("raw", Self::Raw), ("base64", Self::Base64), ("whsec", Self::Whsec), ("whsk", Self::Whsk)];
}

impl FromStr for KeyEncoding {
    type Err = InvalidKeyEncoding;

    fn from_str(name: &str) -> Result<Self, InvalidKeyEncoding> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, encoding)| encoding).ok_or_else(|| InvalidKeyEncoding(name.to_owned()))
    }
}

impl fmt::Display for KeyEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Base64 => "base64",
            Self::Whsec => "whsec",
            Self::Whsk => "whsk",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidKeyEncoding(String);

impl fmt::Display for InvalidKeyEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid key encoding {:?}: must be raw, base64, whsec or whsk", self.0)
    }
}

impl std::error::Error for InvalidKeyEncoding {}

const WHSEC: &str = "whsec_";
const WHSK: &str = "whsk_";
const WHPK: &str = "whpk_";

fn decode_after(prefix: &'static str, text: &str) -> Result<Vec<u8>, InvalidSecret> {
    decode_base64(text.strip_prefix(prefix).ok_or(InvalidSecret::NoPrefix(prefix))?)
}

fn decode_base64(text: &str) -> Result<Vec<u8>, InvalidSecret> {
    let decoded =
        if text.ends_with('=') { Base64::decode_vec(text) } else { Base64Unpadded::decode_vec(text) };
    decoded.map_err(|_| InvalidSecret::NotBase64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use KeyEncoding::{Base64 as B64, Raw, Whsec, Whsk};
    use hmac::Mac;
    use proptest::prelude::*;

    fn tag(secret: &Secret) -> Vec<u8> {
        match &secret.0 {
            Key::Hmac(hmac) => hmac.clone().chain_update("message").finalize().into_bytes().to_vec(),
            Key::Ed25519(pair) => pair.verifying_key().as_bytes().to_vec(),
        }
    }

    /// RFC 8032, 7.1, test 1.
    const SEED: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    const PUBLIC: &str = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    #[test]
    fn a_key_pair_is_its_seed() {
        assert!(Secret::parse(SEED.trim_end_matches('='), Whsk).is_ok(), "without padding");
        assert_eq!(Secret::parse(SEED, Whsk).unwrap().public_key().as_deref(), Some(PUBLIC));
        let seed: [u8; 32] = decode_after(WHSK, SEED).unwrap().try_into().unwrap();
        let whole = generate(Whsk, seed);
        assert_eq!(Secret::parse(&whole, Whsk).unwrap().public_key().as_deref(), Some(PUBLIC));
        assert_eq!(Secret::parse("raw", Raw).unwrap().public_key(), None);
    }

    #[test]
    fn verifiers() {
        for (text, encoding) in [(SEED, Whsk), (PUBLIC, Whsk), ("any", Raw)] {
            assert!(Verifier::parse(text, encoding).is_ok(), "{text}");
        }
        // Not on the curve.
        let mut none = [0; 32];
        none[0] = 2;
        let none = format!("{WHPK}{}", Base64::encode_string(&none));
        for (text, expected) in [
            ("whpk_!", InvalidSecret::NotBase64),
            ("whpk_AAAA", InvalidSecret::NotAPublicKey),
            (&none, InvalidSecret::NotAPublicKey),
            ("whsk_AAAA", InvalidSecret::NotAKeyPair),
            ("AAAA", InvalidSecret::NoPrefix(WHSK)),
        ] {
            assert_eq!(Verifier::parse(text, Whsk).map(|_| ()).unwrap_err(), expected, "{text}");
        }
        assert_eq!(Secret::parse(PUBLIC, Whsk).unwrap_err(), InvalidSecret::NoPrefix(WHSK));
    }

    #[test]
    fn equal_keys_in_every_encoding() {
        let key = "twenty-four bytes of key";
        let raw = tag(&Secret::parse(key, Raw).unwrap());
        for (text, encoding) in
            [("dHdlbnR5LWZvdXIgYnl0ZXMgb2Yga2V5", B64), ("whsec_dHdlbnR5LWZvdXIgYnl0ZXMgb2Yga2V5", Whsec)]
        {
            assert_eq!(tag(&Secret::parse(text, encoding).unwrap()), raw, "{text}");
        }
        for (padded, unpadded) in [("YQ==", "YQ"), ("YWI=", "YWI"), ("YWJj", "YWJj")] {
            let [padded, unpadded] = [padded, unpadded].map(|text| tag(&Secret::parse(text, B64).unwrap()));
            assert_eq!(padded, unpadded);
        }
    }

    #[test]
    fn refusals() {
        let length = |bytes, min, max| InvalidSecret::Length { bytes, min, max };
        let whsec = |bytes: usize| format!("whsec_{}", Base64::encode_string(&vec![7; bytes]));
        for (text, encoding, expected) in [
            ("", Raw, length(0, 1, 512)),
            (&"x".repeat(513), Raw, length(513, 1, 512)),
            ("", B64, length(0, 1, 512)),
            ("a", B64, InvalidSecret::NotBase64),
            ("YQ=", B64, InvalidSecret::NotBase64),
            ("YW-_", B64, InvalidSecret::NotBase64),
            ("YQ==\n", B64, InvalidSecret::NotBase64),
            ("C2FVsBQIhrscChlQIMV+b5sSYspob7oD", Whsec, InvalidSecret::NoPrefix(WHSEC)),
            (&whsec(23), Whsec, length(23, 24, 64)),
            (&whsec(65), Whsec, length(65, 24, 64)),
            (&whsec(32), Whsk, InvalidSecret::NoPrefix(WHSK)),
            (&whsec(64).replace("whsec", "whsk"), Whsk, InvalidSecret::NotAKeyPair),
            (&whsec(31).replace("whsec", "whsk"), Whsk, InvalidSecret::NotAKeyPair),
        ] {
            assert_eq!(Secret::parse(text, encoding).unwrap_err(), expected, "{text}");
        }
        for bytes in [24, 64] {
            assert!(Secret::parse(&whsec(bytes), Whsec).is_ok());
        }
    }

    #[test]
    fn nothing_of_a_secret_is_printed() {
        assert_eq!(format!("{:?}", Secret::parse("hunter2", Raw).unwrap()), "Secret(..)");
        let error = Secret::parse("hunter2!", B64).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn key_encodings_read_back() {
        for (name, encoding) in KeyEncoding::ALL {
            assert_eq!((name.parse(), encoding.to_string().as_str()), (Ok(encoding), name));
        }
        let error = "hex".parse::<KeyEncoding>().unwrap_err().to_string();
        assert_eq!(error, "invalid key encoding \"hex\": must be raw, base64, whsec or whsk");
    }

    proptest! {
        #[test]
        fn generated_secrets_parse(random: [u8; 32]) {
            let text = generate(Whsec, random);
            prop_assert_eq!(text.len(), 50);
            let expected = Secret::from_key(&random, 32, 32).unwrap();
            prop_assert_eq!(tag(&Secret::parse(&text, Whsec).unwrap()), tag(&expected));
            for (_, encoding) in KeyEncoding::ALL {
                prop_assert!(Secret::parse(&generate(encoding, random), encoding).is_ok());
            }
        }

        #[test]
        fn parsing_never_panics(text: String) {
            for (_, encoding) in KeyEncoding::ALL {
                let _ = Secret::parse(&text, encoding);
            }
        }
    }
}
