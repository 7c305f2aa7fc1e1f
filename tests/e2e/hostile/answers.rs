//! Answers that are none, and odd ones.

use super::{CHUNKED, OK, case, endure, says};

#[tokio::test]
async fn what_is_no_answer_is_a_failed_attempt() {
    let mut cases = vec![
        says(
            "garbage",
            "failed||protocol: invalid HTTP version",
            b"\xDE\xAD\xBE\xEF\x00\xFF garbage\r\n\r\n",
        ),
        says("another protocol", "failed||protocol: invalid HTTP version", "SSH-2.0-OpenSSH_9.2p1\r\n"),
        case("plain HTTP where TLS is spoken", "failed||tls: received corrupt message", async |mut talk| {
            talk.say("HTTP/1.1 400 Bad Request\r\n\r\n").await?;
            talk.wait().await
        }),
        says("HTTP/0.9", "failed||protocol: invalid HTTP version", "<html>hello</html>\r\n"),
        says("HTTP/9.9", "failed||protocol: invalid HTTP version", "HTTP/9.9 200 OK\r\n\r\n"),
        says("no end of head", "failed||protocol: ", "HTTP/1.1 200 OK\r\nx: y\r\n"),
        says(
            "status 000",
            "failed||protocol: invalid HTTP status-code",
            "HTTP/1.1 000 Zero\r\ncontent-length: 0\r\n\r\n",
        ),
        says(
            "status 99",
            "failed||protocol: invalid HTTP status-code",
            "HTTP/1.1 99 Less\r\ncontent-length: 0\r\n\r\n",
        ),
        says(
            "status 1000",
            "failed||protocol: invalid HTTP",
            "HTTP/1.1 1000 More\r\ncontent-length: 0\r\n\r\n",
        ),
        says("NUL in a header", "failed||protocol: invalid HTTP header", format!("{OK}x: a\0b\r\n\r\n")),
        says(
            "two lengths",
            "failed||protocol: ",
            format!("{OK}content-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        ),
        says("no length", "failed||protocol: ", format!("{OK}content-length: -1\r\n\r\n")),
        says(
            "a length past 64 bits",
            "failed||protocol: ",
            format!("{OK}content-length: 99999999999999999999\r\n\r\n"),
        ),
        says(
            "less than promised",
            "failed|200|protocol: ",
            format!("{OK}content-length: 9000000000000000000\r\n\r\nab"),
        ),
        says(
            "a chunk past 64 bits",
            "failed|200|protocol: ",
            format!("{CHUNKED}fffffffffffffffff\r\nab\r\n"),
        ),
        says("a chunk of no length", "failed|200|protocol: ", format!("{CHUNKED}none\r\nab\r\n")),
        says("an end in the middle of a chunk", "failed|200|protocol: ", format!("{CHUNKED}5\r\nab")),
        says("closes without an answer", "failed||protocol: ", ""),
    ];
    cases.push(case("closes at once", "failed||protocol: ", async |talk| {
        drop(talk);
        Ok(())
    }));
    cases.push(case("resets at once", "failed||", async |talk| talk.reset()));
    for (name, expected, part) in [
        ("resets instead of an answer", "failed||protocol: connection reset", ""),
        ("resets in the middle of the head", "failed||protocol: connection reset", "HTTP/1.1 200 OK\r\nx: "),
        (
            "resets in the middle of the body",
            "failed|200|protocol: connection reset",
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345",
        ),
    ] {
        cases.push(case(name, expected, move |mut talk| async move {
            talk.request().await?;
            talk.say(part).await?;
            talk.reset()
        }));
    }
    endure(cases).await;
}

#[tokio::test]
async fn odd_answers_are_recorded_as_they_came_without_what_postgresql_refuses() {
    let database = endure(vec![
        says(
            "NUL and invalid UTF-8",
            "delivered|200|",
            [OK.as_bytes(), b"x-name: caf\xE9\r\n\r\na\0b\xFFc\xC3"].concat(),
        ),
        says("\\u0000 in JSON", "delivered|200|", format!("{OK}x: \\u0000\r\n\r\n{{\"a\": \"\\u0000\"}}")),
        says("quotes", "delivered|200|", format!("{OK}x: \"'); DROP TABLE webhook.queue; --\r\n\r\n'\"\\")),
        says("the same header twice", "delivered|200|", format!("{OK}x: 1\r\nx: 2\r\n\r\n")),
        says(
            "the same length twice",
            "delivered|200|",
            format!("{OK}content-length: 2\r\ncontent-length: 2\r\n\r\nab"),
        ),
        says("status 999", "failed|999|", "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n"),
        says(
            "status 101",
            "failed|101|",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc",
        ),
        says("204 with a body", "delivered|204|", "HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\nabc"),
        says("more than promised", "delivered|200|", format!("{OK}content-length: 2\r\n\r\nabcdef")),
        says("a redirect without a place", "failed|302|", "HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n"),
        says(
            "Retry-After beyond time",
            "failed|503|",
            "HTTP/1.1 503 Later\r\nretry-after: 99999999999999999999999\r\n\r\n",
        ),
    ])
    .await;
    for (name, column, expected) in [
        ("NUL and invalid UTF-8", "response_body", "a\u{FFFD}b\u{FFFD}c\u{FFFD}"),
        ("NUL and invalid UTF-8", "response_headers->>'x-name'", "caf\u{FFFD}"),
        ("\\u0000 in JSON", "response_body", "{\"a\": \"\\u0000\"}"),
        ("\\u0000 in JSON", "response_headers->>'x'", "\\u0000"),
        ("quotes", "response_body", "'\"\\"),
        ("quotes", "response_headers->>'x'", "\"'); DROP TABLE webhook.queue; --"),
        ("the same header twice", "response_headers->>'x'", "1, 2"),
        ("more than promised", "response_body", "ab"),
    ] {
        let kept = database.rows(&format!(
            "SELECT DISTINCT a.{column} FROM webhook.attempt a JOIN webhook.endpoint e ON e.id = a.endpoint_id WHERE e.name = '{name}'"
        ))
        .await;
        assert_eq!(kept, [expected], "{name}");
    }
}
