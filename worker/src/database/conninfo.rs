//! libpq's connection strings, URL or key=value pairs, as parameters. What the parameters mean is `target`'s business.

use std::collections::BTreeMap;

pub type Parameters = BTreeMap<String, String>;

/// Errors repeat no value: it may be a password.
pub fn parse(text: &str) -> Result<Parameters, String> {
    match text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://")) {
        Some(rest) => parse_url(rest),
        None if text.contains("://") => Err("its scheme must be postgresql".to_owned()),
        // As libpq takes it for -d: a bare name is a database.
        None if !text.contains('=') => Ok(Parameters::from([("dbname".to_owned(), text.to_owned())])),
        None => parse_pairs(text),
    }
}

/// `[user[:password]@][host[:port][,…]][/database][?key=value[&…]]`
fn parse_url(rest: &str) -> Result<Parameters, String> {
    let mut parameters = Parameters::new();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => (address, port.strip_prefix(':').unwrap_or(port)),
            None => host.split_once(':').unwrap_or((host, "")),
        };
        names.push(decode(name)?);
        ports.push(port);
    }
    for (key, value) in
        [("user", decode(user)?), ("password", decode(password)?), ("dbname", decode(database)?)]
    {
        insert(&mut parameters, key, value);
    }
    insert(&mut parameters, "host", names.join(","));
    if ports.iter().any(|port| !port.is_empty()) {
        insert(&mut parameters, "port", ports.join(","));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("a parameter after ? has no value")?;
        match (key, value) {
            ("ssl", "true") => insert(&mut parameters, "sslmode", "require".to_owned()),
            _ => insert(&mut parameters, &decode(key)?, decode(value)?),
        }
    }
    Ok(parameters)
}

fn insert(parameters: &mut Parameters, key: &str, value: String) {
    if !value.is_empty() {
        parameters.insert(key.to_owned(), value);
    }
}

fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|digit| digit.and_then(|d| char::from(d).to_digit(16)));
        match digits {
            [Some(high), Some(low)] => bytes.push((high * 16 + low) as u8),
            _ => return Err("a % is not followed by two hexadecimal digits".to_owned()),
        }
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 once decoded".to_owned())
}

/// `key = value key='quoted \'value\''`
fn parse_pairs(text: &str) -> Result<Parameters, String> {
    let mut parameters = Parameters::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or("a word is not followed by =")?;
        let key = key.trim_end();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err("a word is not followed by =".to_owned());
        }
        let (value, after) = take_value(after.trim_start())?;
        insert(&mut parameters, key, value);
        rest = after.trim_start();
    }
    Ok(parameters)
}

fn take_value(text: &str) -> Result<(String, &str), String> {
    let (quoted, body) = text.strip_prefix('\'').map_or((false, text), |body| (true, body));
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &body[at + 1..])),
            c if !quoted && c.is_whitespace() => return Ok((value, &body[at..])),
            c => value.push(c),
        }
    }
    if quoted { Err("a quote is not closed".to_owned()) } else { Ok((value, "")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected = expected.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        assert_eq!(parse(text), Ok(expected), "{text}");
    }

    #[test]
    fn urls() {
        check("postgresql://", &[]);
        check("postgres://db/shop", &[("host", "db"), ("dbname", "shop")]);
        check(
            "postgresql://me:p%40ss@a:1,b,[::1]:3/shop?sslmode=verify-full&connect_timeout=3",
            &[
                ("user", "me"),
                ("password", "p@ss"),
                ("host", "a,b,::1"),
                ("port", "1,,3"),
                ("dbname", "shop"),
                ("sslmode", "verify-full"),
                ("connect_timeout", "3"),
            ],
        );
        check("postgresql://%2Fvar%2Frun/shop", &[("host", "/var/run"), ("dbname", "shop")]);
        check(
            "postgresql:///shop?host=/tmp&port=5433",
            &[("host", "/tmp"), ("port", "5433"), ("dbname", "shop")],
        );
    }

    #[test]
    fn pairs() {
        check("shop", &[("dbname", "shop")]);
        check("host=db dbname = shop", &[("host", "db"), ("dbname", "shop")]);
        check(r"password='a b\'c\\' user=me", &[("password", r"a b'c\"), ("user", "me")]);
        check("options='' user=me", &[("user", "me")]);
    }

    #[test]
    fn refusals_repeat_no_value() {
        for text in [
            "mysql://x",
            "postgres://a?secret",
            "host=a secret",
            "password='secret",
            "postgres://secret%zz@a",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }
}
