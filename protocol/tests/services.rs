//! The signature schemes of real services, written down as rows: what is signed is what the service documents, and it
//! verifies. Names of services stay in tests and documentation.

use protocol::scheme::{Message, Scheme, SchemeSpec};
use protocol::secret::{KeyEncoding, Secret, Verifier};
use protocol::verify::VerifyError;

const KEY: &str = "whsec_plain key as it stands";
const BODY: &str = r#"{"id":"evt_1","type":"deal.won","data":{"n":1}}"#;
const NOW_S: i64 = 1_700_000_000;
const MESSAGE: Message<'_> = Message {
    id: "evt_1",
    attempt_id: Some("req_1"),
    at_ms: NOW_S * 1000 + 123,
    body: BODY,
    event_type: "deal.won",
    tenant: None,
};

/// HMAC-SHA256 of the body, and of `1700000000.` and the body, as Python's hmac computes it.
const BODY_HEX: &str = "804d957428ef4775a7cff2b8f37b1b0620aa2ae4e757bada792420b8c5f2e63f";
const BODY_BASE64: &str = "gE2VdCjvR3Wnz/K483sbBiCqKuTnV7raeSQguMXy5j8=";
const TIMED_HEX: &str = "810181d6089e02b62f2110516006f9eec0dc22537cf6fa492138253500b2b850";

fn scheme(content: &str, digest_encoding: &str, signature: &str, headers: &[(&str, &str)]) -> Scheme {
    Scheme::try_new(&SchemeSpec {
        name: "test".to_owned(),
        algorithm: "hmac-sha256".to_owned(),
        key_encoding: "raw".to_owned(),
        content: content.to_owned(),
        digest_encoding: digest_encoding.to_owned(),
        signature: signature.to_owned(),
        separator: ",".to_owned(),
        headers: headers
            .iter()
            .map(|(name, template)| ((*name).to_owned(), (*template).to_owned()))
            .collect(),
    })
    .unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::parse(text, KeyEncoding::Raw).unwrap()
}

fn verifier(text: &str) -> Verifier {
    Verifier::from(&secret(text))
}

/// Expects the scheme to send the headers and to accept them, but not with another body or secret, and where they
/// carry a timestamp, not a minute and a second later.
#[track_caller]
fn check(scheme: &Scheme, expected: &[(&str, &str)]) {
    let headers = scheme.headers(&MESSAGE, &scheme.sign(&[secret(KEY)], &MESSAGE));
    let sent: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(sent, expected);

    let verify = |body: &str, key: &str, now_s| scheme.verify(&headers, body, &[verifier(key)], 60, now_s);
    assert_eq!(verify(BODY, KEY, NOW_S), Ok(()));
    assert_eq!(verify(BODY, "another key", NOW_S), Err(VerifyError::NoMatch));
    assert!(verify(&BODY.replace('1', "2"), KEY, NOW_S).is_err());
    let has_timestamp = sent.iter().any(|(_, value)| value.contains("1700000000"));
    let late = Err(VerifyError::Untimely { age_s: 61, tolerance_s: 60 });
    assert_eq!(verify(BODY, KEY, NOW_S + 61), if has_timestamp { late } else { Ok(()) });
}

#[test]
fn iverton() {
    check(
        &scheme("{body}", "hex", "sha256={digest}", &[("X-Iverton-Signature", "{signatures}")]),
        &[("X-Iverton-Signature", &format!("sha256={BODY_HEX}"))],
    );
}

#[test]
fn ivy() {
    check(
        &scheme("{body}", "hex", "{digest}", &[("X-Ivy-Signature", "{signatures}")]),
        &[("X-Ivy-Signature", BODY_HEX)],
    );
}

#[test]
fn vivoldi() {
    let headers = |signature| {
        [
            ("X-Vivoldi-Request-Id", "{attempt_id}"),
            ("X-Vivoldi-Event-Id", "{id}"),
            ("X-Vivoldi-Webhook-Type", "GLOBAL"),
            ("X-Vivoldi-Resource-Type", "{type_first}"),
            ("X-Vivoldi-Timestamp", "{timestamp}"),
            ("X-Content-SHA256", "{body_sha256_hex}"),
            ("X-Vivoldi-Signature", signature),
        ]
    };
    let expected = [
        ("X-Vivoldi-Request-Id", "req_1"),
        ("X-Vivoldi-Event-Id", "evt_1"),
        ("X-Vivoldi-Webhook-Type", "GLOBAL"),
        ("X-Vivoldi-Resource-Type", "deal"),
        ("X-Vivoldi-Timestamp", "1700000000"),
        ("X-Content-SHA256", "0bfab2411e69fc735cb51aa40f1067fc02a5c2cbcc3bc78eef215a448d8f64ba"),
        ("X-Vivoldi-Signature", &format!("t=1700000000,v1={TIMED_HEX},alg=hmac-sha256")),
    ];
    // The timestamp may stand in every signature or once in front of all of them.
    let in_each = scheme(
        "{timestamp}.{body}",
        "hex",
        "t={timestamp},v1={digest},alg=hmac-sha256",
        &headers("{signatures}"),
    );
    let in_front = scheme(
        "{timestamp}.{body}",
        "hex",
        "v1={digest}",
        &headers("t={timestamp},{signatures},alg=hmac-sha256"),
    );
    for scheme in [in_each, in_front] {
        check(&scheme, &expected);
        assert!(!scheme.per_attempt());
    }
}

/// The example of "Validating webhook deliveries".
#[test]
fn github() {
    let github = scheme("{body}", "hex", "sha256={digest}", &[("X-Hub-Signature-256", "{signatures}")]);
    let headers = [(
        "x-hub-signature-256".to_owned(),
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17".to_owned(),
    )];
    let secrets = [verifier("It's a Secret to Everybody")];
    assert_eq!(github.verify(&headers, "Hello, World!", &secrets, 0, 0), Ok(()));
}

#[test]
fn stripe() {
    let stripe = scheme(
        "{timestamp}.{body}",
        "hex",
        "v1={digest}",
        &[("Stripe-Signature", "t={timestamp},{signatures}")],
    );
    check(&stripe, &[("Stripe-Signature", &format!("t=1700000000,v1={TIMED_HEX}"))]);

    // While a secret is rolled there are several signatures, and in test mode one of another version.
    let rolled = stripe.sign(&[secret("old"), secret(KEY)], &MESSAGE);
    let headers = [("stripe-signature".to_owned(), format!("t={NOW_S},{rolled},v0={BODY_HEX}"))];
    for key in ["old", KEY] {
        assert_eq!(stripe.verify(&headers, BODY, &[verifier("new"), verifier(key)], 300, NOW_S), Ok(()));
    }
}

#[test]
fn shopify() {
    check(
        &scheme(
            "{body}",
            "base64",
            "{digest}",
            &[
                ("X-Shopify-Topic", "{type}"),
                ("X-Shopify-Webhook-Id", "{attempt_id}"),
                ("X-Shopify-Event-Id", "{id}"),
                ("X-Shopify-Hmac-SHA256", "{signatures}"),
            ],
        ),
        &[
            ("X-Shopify-Topic", "deal.won"),
            ("X-Shopify-Webhook-Id", "req_1"),
            ("X-Shopify-Event-Id", "evt_1"),
            ("X-Shopify-Hmac-SHA256", BODY_BASE64),
        ],
    );
}

/// The example of "Verifying requests from Slack".
#[test]
fn slack() {
    let slack = scheme(
        "v0:{timestamp}:{body}",
        "hex",
        "v0={digest}",
        &[("X-Slack-Request-Timestamp", "{timestamp}"), ("X-Slack-Signature", "{signatures}")],
    );
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
                &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
                &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F\
                96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let headers = [
        ("X-Slack-Request-Timestamp", "1531420618"),
        ("X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let secrets = [verifier("8f742231b10e8888abcd99yyyzzz85a5")];
    assert_eq!(slack.verify(&headers, body, &secrets, 300, 1_531_420_618 + 300), Ok(()));
}

/// Standard Webhooks, asymmetric (v1a): the vector of Svix's server, and RFC 8032's of an empty message.
#[test]
fn standard_ed25519() {
    let scheme = |content: &str, digest_encoding: &str, signature: &str| {
        Scheme::try_new(&SchemeSpec {
            name: "test".to_owned(),
            algorithm: "ed25519".to_owned(),
            key_encoding: "whsk".to_owned(),
            content: content.to_owned(),
            digest_encoding: digest_encoding.to_owned(),
            signature: signature.to_owned(),
            separator: " ".to_owned(),
            headers: [
                ("webhook-id", "{id}"),
                ("webhook-timestamp", "{timestamp}"),
                ("webhook-signature", "{signatures}"),
            ]
            .map(|(name, template)| (name.to_owned(), template.to_owned()))
            .to_vec(),
        })
        .unwrap()
    };
    let sign = |scheme: &Scheme, secret: &str, message: &Message<'_>| {
        scheme.sign(&[Secret::parse(secret, KeyEncoding::Whsk).unwrap()], message)
    };
    let standard = scheme("{id}.{timestamp}.{body}", "base64", "v1a,{digest}");
    let message = Message {
        id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
        at_ms: 1_614_265_330_000,
        body: r#"{"test": 2432232314}"#,
        ..MESSAGE
    };
    let secret =
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    let public = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
    let signature = sign(&standard, secret, &message);
    assert_eq!(
        signature,
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
    );

    let headers = standard.headers(&message, &signature);
    let verify = |body: &str, key: &str| {
        let verifiers = [Verifier::parse(key, KeyEncoding::Whsk).unwrap()];
        standard.verify(&headers, body, &verifiers, 0, 1_614_265_330)
    };
    assert_eq!((verify(message.body, public), verify(message.body, secret)), (Ok(()), Ok(())));
    assert_eq!(verify("{}", public), Err(VerifyError::NoMatch));
    let other = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    assert_eq!(verify(message.body, other), Err(VerifyError::NoMatch));

    let hex = scheme("{body}", "hex", "{digest}");
    let rfc_8032 = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    assert_eq!(
        sign(&hex, rfc_8032, &Message { body: "", ..MESSAGE }),
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    );
}
