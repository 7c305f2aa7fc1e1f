//! What a scheme does for whoever signs and sends: signatures and headers.

use ed25519_dalek::Signer;
use hmac::Mac;

use crate::message::{Message, Texts};
use crate::scheme::{DIGEST_BYTES, Scheme};
use crate::secret::{Key, Secret};
use crate::template::{Placeholder, Values};

impl Scheme {
    /// Whether a signature is of one attempt only, so that it cannot be made before the attempt is.
    #[must_use]
    pub fn per_attempt(&self) -> bool {
        self.content.uses(Placeholder::AttemptId) || self.signature.uses(Placeholder::AttemptId)
    }

    /// Appends what `{signatures}` stands for: one signature for each secret, in their order, or only the first where the
    /// scheme has no separator. The body is hashed where it lies.
    pub fn sign_into<'s>(
        &self,
        out: &mut String,
        secrets: impl IntoIterator<Item = &'s Secret>,
        message: &Message<'_>,
    ) {
        let mut texts = Texts::new(message);
        let values = texts.values(|p| self.content.uses(p) || self.signature.uses(p));
        for (index, secret) in secrets.into_iter().enumerate() {
            if index > 0 {
                if self.separator.is_empty() {
                    break;
                }
                out.push_str(&self.separator);
            }
            let mut buffer = [0; DIGEST_BYTES];
            let mut values = values;
            values.set(Placeholder::Digest, self.digest(secret, &values, &mut buffer));
            self.signature.render(&values, |text| out.push_str(text));
        }
    }

    /// See [`Scheme::sign_into`].
    #[must_use]
    pub fn sign<'s>(&self, secrets: impl IntoIterator<Item = &'s Secret>, message: &Message<'_>) -> String {
        let mut signatures = String::new();
        self.sign_into(&mut signatures, secrets, message);
        signatures
    }

    /// The headers of a request, in the scheme's order. One that depends on a value the message lacks (no tenant, no
    /// attempt yet, no signature) is left out. What is not visible ASCII in a value is percent-encoded.
    #[must_use]
    pub fn headers(&self, message: &Message<'_>, signatures: &str) -> Vec<(String, String)> {
        let mut headers = Vec::with_capacity(self.headers.len());
        self.each_header(message, signatures, |_, name, value| {
            headers.push((name.to_owned(), value.to_owned()));
        });
        headers
    }

    /// The same without allocating each: hands over a header's place among [`Scheme::header_names`], its name and value.
    pub fn each_header(
        &self,
        message: &Message<'_>,
        signatures: &str,
        mut each: impl FnMut(usize, &str, &str),
    ) {
        let mut texts = Texts::new(message);
        let mut values = texts.values(|p| self.headers.iter().any(|(_, template)| template.uses(p)));
        if !signatures.is_empty() {
            values.set(Placeholder::Signatures, signatures);
        }
        let mut value = String::new();
        for (place, (name, template)) in self.headers.iter().enumerate() {
            if template.placeholders().all(|p| values.get(p).is_some()) {
                value.clear();
                template.render(&values, |text| value.push_str(text));
                each(place, name, &value);
            }
        }
    }

    /// The digest of the content under one key, as text in `buffer`.
    fn digest<'b>(
        &self,
        secret: &Secret,
        values: &Values<'_>,
        buffer: &'b mut [u8; DIGEST_BYTES],
    ) -> &'b str {
        match &secret.0 {
            Key::Hmac(hmac) => {
                let mut hmac = hmac.clone();
                self.content.render(values, |text| hmac.update(text.as_bytes()));
                self.digest_encoding.encode(&hmac.finalize().into_bytes(), buffer)
            }
            // It reads the content twice, so this has to lie in one piece.
            Key::Ed25519(pair) => {
                let signature = pair.sign(self.content.text(values).as_bytes());
                self.digest_encoding.encode(&signature.to_bytes(), buffer)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::SchemeSpec;
    use crate::secret::KeyEncoding;

    const MESSAGE: Message<'_> = Message {
        id: "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        attempt_id: None,
        at_ms: 1_649_367_553_999,
        body: r#"{"email":"test@example.com","username":"test_user"}"#,
        event_type: "user.created",
        tenant: None,
    };

    fn scheme(content: &str, signature: &str, separator: &str, header: &str) -> Scheme {
        Scheme::try_new(&SchemeSpec {
            name: "test".to_owned(),
            algorithm: "hmac-sha256".to_owned(),
            key_encoding: "raw".to_owned(),
            content: content.to_owned(),
            digest_encoding: "hex".to_owned(),
            signature: signature.to_owned(),
            separator: separator.to_owned(),
            headers: vec![
                ("X-Test".to_owned(), header.to_owned()),
                ("X-Signature".to_owned(), "{signatures}".to_owned()),
            ],
        })
        .unwrap()
    }

    fn raw(text: &str) -> Secret {
        Secret::parse(text, KeyEncoding::Raw).unwrap()
    }

    /// The vector of Standard Webhooks' reference libraries.
    #[test]
    fn the_standard_vector() {
        let standard = Scheme::standard();
        let secret =
            Secret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", standard.key_encoding()).unwrap();
        let signature = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
        assert_eq!(standard.sign([&secret], &MESSAGE), signature);
        assert_eq!(standard.sign([&secret, &secret], &MESSAGE), format!("{signature} {signature}"));
        let expected = [
            ("webhook-id", MESSAGE.id),
            ("webhook-timestamp", "1649367553"),
            ("webhook-signature", signature),
        ];
        assert_eq!(
            standard.headers(&MESSAGE, signature),
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert!(!standard.per_attempt());
    }

    #[test]
    fn without_a_separator_the_first_secret_signs() {
        let single = scheme("{body}", "{digest}", "", "1");
        let secrets = [raw("new"), raw("old")];
        assert_eq!(single.sign(&secrets, &MESSAGE), single.sign(&secrets[..1], &MESSAGE));
        assert_eq!(single.sign(&[], &MESSAGE), "");
    }

    #[test]
    fn per_attempt_is_what_signs_the_attempt() {
        for (content, signature, header, expected) in [
            ("{body}", "{digest}", "{attempt_id}", false),
            ("{attempt_id}{body}", "{digest}", "1", true),
            ("{body}", "{attempt_id}={digest}", "1", true),
        ] {
            assert_eq!(scheme(content, signature, ",", header).per_attempt(), expected);
        }
    }

    #[test]
    fn headers_are_escaped_and_left_out_where_a_value_is_lacking() {
        for (template, tenant, signatures, expected) in [
            ("{tenant}", Some("Zoë & Co"), "s", vec!["Zo%C3%AB%20&%20Co", "s"]),
            ("t={tenant};{type_first}", Some("a"), "s", vec!["t=a;user", "s"]),
            ("t={tenant}", None, "s", vec!["s"]),
            ("t={tenant}", Some(""), "s", vec!["s"]),
            ("{attempt_id}", None, "s", vec!["s"]),
            ("{timestamp_ms} {{}}", None, "", vec!["1649367553999 {}"]),
        ] {
            let headers = scheme("{body}", "{digest}", ",", template)
                .headers(&Message { tenant, ..MESSAGE }, signatures);
            let values: Vec<_> = headers.iter().map(|(_, value)| value.as_str()).collect();
            assert_eq!(values, expected, "{template}");
        }
    }

    #[test]
    fn content_is_signed_as_its_headers_show_it() {
        let tenant = scheme("{tenant}.{body}", "{digest}", ",", "{tenant}");
        let sign = |name| tenant.sign(&[raw("key")], &Message { tenant: Some(name), ..MESSAGE });
        assert_eq!(sign("a b"), sign("a%20b"));
    }
}
