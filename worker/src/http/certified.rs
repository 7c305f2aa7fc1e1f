//! Clients of endpoints that have certificates of their own: one for each pair of names, made anew when a file changes.

use super::certificates::{Certificates, Stamp};
use super::client::{Clients, Settings};
use super::resolver::Resolver;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Files are looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Clients that were not used for so long are let go.
const UNUSED: Duration = Duration::from_secs(600);

#[derive(Default)]
pub struct Certified(HashMap<Certificates, Entry>);

struct Entry {
    clients: Result<Clients, String>,
    stamp: Stamp,
    looked_at: Instant,
    used_at: Instant,
}

impl Certified {
    pub fn clients(
        &mut self,
        names: &Certificates,
        settings: &Settings,
        resolver: &Resolver,
        now: Instant,
    ) -> Result<Clients, String> {
        let folder = settings.certificate_dir.as_deref();
        if let Some(entry) = self.0.get_mut(names) {
            entry.used_at = now;
            if now < entry.looked_at + LOOK_AGAIN {
                return entry.clients.clone();
            }
            entry.looked_at = now;
            if entry.clients.is_ok() && entry.stamp == names.stamp(folder) {
                return entry.clients.clone();
            }
        }
        // First the stamp: what changes while it is read is read again.
        let stamp = names.stamp(folder);
        let clients = names.tls(folder, &settings.roots).and_then(|tls| settings.clients(&tls, resolver));
        self.0.retain(|_, entry| now < entry.used_at + UNUSED);
        self.0.insert(names.clone(), Entry { clients: clients.clone(), stamp, looked_at: now, used_at: now });
        clients
    }
}
