//! Signature schemes, each read once however many endpoints use it.

use protocol::scheme::{InvalidScheme, Scheme, SchemeSpec};
use reqwest::header::HeaderName;
use std::sync::{Arc, Mutex, Weak};

/// A scheme, and the names of its headers as they are sent.
#[derive(Debug)]
pub struct Signing {
    pub scheme: Scheme,
    pub header_names: Vec<HeaderName>,
}

static KNOWN: Mutex<Vec<(SchemeSpec, Weak<Signing>)>> = Mutex::new(Vec::new());

pub fn read(spec: SchemeSpec) -> Result<Arc<Signing>, InvalidScheme> {
    let mut known = KNOWN.lock().expect("no holder panics");
    let found = known.iter().find(|(other, _)| *other == spec);
    if let Some(signing) = found.and_then(|(_, signing)| signing.upgrade()) {
        return Ok(signing);
    }
    let scheme = Scheme::try_new(&spec)?;
    let header = |name: &str| HeaderName::from_bytes(name.as_bytes()).expect("the scheme has checked it");
    let header_names = scheme.header_names().map(header).collect();
    let signing = Arc::new(Signing { scheme, header_names });
    known.retain(|(_, signing)| signing.strong_count() > 0);
    known.push((spec, Arc::downgrade(&signing)));
    Ok(signing)
}
