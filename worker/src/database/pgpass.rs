//! Passwords from ~/.pgpass, by libpq's rules: the first line that fits host, port, database and user.

/// `content` is the file's text. `*` fits anything; `\` escapes `:` and `\`.
pub fn find(content: &str, host: &str, port: u16, database: &str, user: &str) -> Option<String> {
    let port = port.to_string();
    content.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = split(line);
        let [line_host, line_port, line_database, line_user, password] = fields.as_slice() else {
            return None;
        };
        let fits = |pattern: &String, value: &str| pattern == "*" || pattern == value;
        (fits(line_host, host)
            && fits(line_port, &port)
            && fits(line_database, database)
            && fits(line_user, user))
        .then(|| password.clone())
    })
}

fn split(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        // The password is the rest of the line but for escapes.
        if c == ':' && fields.len() < 5 {
            fields.push(String::new());
            continue;
        }
        let taken = if c == '\\' { characters.next() } else { Some(c) };
        fields.last_mut().expect("there is always one").extend(taken);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn the_first_line_that_fits() {
        let file = "# comment\nbroken\ndb:5432:shop:me:one\ndb:*:*:me:t\\:w\\\\o\n*:*:*:*:three:3\n";
        assert_eq!(find(file, "db", 5432, "shop", "me").as_deref(), Some("one"));
        assert_eq!(find(file, "db", 5433, "shop", "me").as_deref(), Some("t:w\\o"));
        assert_eq!(find(file, "other", 1, "x", "y").as_deref(), Some("three:3"));
        assert_eq!(find("db:1:a:b:c", "db", 2, "a", "b"), None);
    }
}
