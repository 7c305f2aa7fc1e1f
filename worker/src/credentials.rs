//! User and password for a server, from the environment: an argument can be read by every user of the machine.

/// What the variables named `user` and `password` say; None without either. A password alone would be left out without a
/// word: that is an error.
pub fn from_environment(
    user: &str,
    password: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<(String, String)>, String> {
    match (environment(user), environment(password)) {
        (Some(user), password) => Ok(Some((user, password.unwrap_or_default()))),
        (None, Some(_)) => Err(format!("{password} is set, but {user} is not")),
        (None, None) => Ok(None),
    }
}
