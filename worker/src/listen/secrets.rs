//! The secrets to verify with: of the environment, or of a file that is read again when it changes.

use standardwebhooks::Webhook;
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

/// Looking at the file's times for every request would cost more than verifying it.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

pub struct Secrets {
    file: Option<PathBuf>,
    state: RefCell<State>,
}

struct State {
    webhooks: Rc<Vec<Webhook>>,
    modified: Option<SystemTime>,
    looked: Instant,
}

impl Secrets {
    pub fn read(file: Option<PathBuf>, variable: Option<String>) -> Result<Secrets, String> {
        let text = match (&file, variable) {
            (Some(file), _) => std::fs::read_to_string(file)
                .map_err(|error| format!("--secret-file {}: {error}", file.display()))?,
            (None, Some(text)) => text,
            (None, None) => {
                return Err(
                    "no secret is given: use --secret-file or PG_WEBHOOK_SECRET; webhook_endpoint_create() \
                            shows an endpoint's secret"
                        .to_owned(),
                );
            }
        };
        let modified = file.as_ref().and_then(modified);
        let state = State { webhooks: Rc::new(parse(&text)?), modified, looked: Instant::now() };
        Ok(Secrets { file, state: RefCell::new(state) })
    }

    /// Those in force. A file that can't be read any more, or holds something else, changes nothing.
    pub fn current(&self) -> Rc<Vec<Webhook>> {
        let mut state = self.state.borrow_mut();
        if let Some(file) = &self.file
            && state.looked.elapsed() >= LOOK_AGAIN
        {
            state.looked = Instant::now();
            let modified = modified(file);
            if modified != state.modified {
                state.modified = modified;
                let text = std::fs::read_to_string(file).map_err(|error| error.to_string());
                match text.and_then(|text| parse(&text)) {
                    Ok(webhooks) => state.webhooks = Rc::new(webhooks),
                    Err(problem) => tracing::warn!("{}: {problem}", file.display()),
                }
            }
        }
        state.webhooks.clone()
    }

    /// Looks at the file at the next call in any case: a signature did not match, perhaps because it is newer.
    pub fn expire(&self) {
        self.state.borrow_mut().looked -= LOOK_AGAIN;
    }
}

fn modified(file: &PathBuf) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

/// One secret a line; an error does not repeat it. No secret at all is fine: everything is rejected until there is one.
fn parse(text: &str) -> Result<Vec<Webhook>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| Webhook::new(line).map_err(|_| "a line is no secret: whsec_ and base64".to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_secret_a_line() {
        let text =
            "# old\nwhsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n\n whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw \n";
        assert_eq!(parse(text).unwrap().len(), 2);
        let error = parse("hunter2!").err().unwrap();
        assert!(!error.contains("hunter2"));
        assert!(Secrets::read(None, None).is_err());
    }
}
