//! All endpoints, and who of them asks for what: an event costs what its own endpoints cost, however many others there are.

use crate::subscriber::Subscriber;
use protocol::event_type;

/// The endpoints of a database.
pub struct Subscribers {
    /// By their ids.
    all: Vec<Subscriber>,
    /// Each pattern of each endpoint, in the order of what it asks for.
    asked: Vec<Asked>,
}

/// A pattern, by the places of its endpoint and of itself in that.
struct Asked {
    subscriber: u32,
    pattern: u32,
}

/// Whose events an endpoint takes.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Audience<'a> {
    AllTenants,
    Tenant(Option<&'a str>),
}

impl Subscribers {
    pub fn new(mut all: Vec<Subscriber>) -> Self {
        all.sort_unstable_by_key(|subscriber| subscriber.endpoint_id);
        let asked = (0..).zip(&all).flat_map(|(place, subscriber)| {
            let patterns = (0..).zip(subscriber.patterns());
            patterns.map(move |(pattern, _)| Asked { subscriber: place, pattern })
        });
        let mut asked: Vec<Asked> = asked.collect();
        asked.sort_unstable_by(|a, b| terms(&all, a).cmp(&terms(&all, b)));
        Self { all, asked }
    }

    /// Those subscribed to such events, by their ids; a taste may decline some yet.
    pub fn wanting(&self, event_type: &str, tenant: Option<&str>) -> Vec<&Subscriber> {
        let mut places = Vec::new();
        for audience in [Audience::AllTenants, Audience::Tenant(tenant)] {
            for key in event_type::keys(event_type) {
                let first = self.asked.partition_point(|asked| terms(&self.all, asked) < (audience, key));
                let same = self.asked[first..].iter().take_while(|a| terms(&self.all, a) == (audience, key));
                places.extend(same.map(|asked| asked.subscriber));
            }
        }
        // An endpoint may ask for a type twice.
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|place| &self.all[place as usize]).collect()
    }

    pub fn by_id(&self, endpoint_id: i32) -> Option<&Subscriber> {
        let place = self.all.binary_search_by_key(&endpoint_id, |subscriber| subscriber.endpoint_id);
        place.ok().map(|place| &self.all[place])
    }

    pub fn iter(&self) -> impl Iterator<Item = &Subscriber> {
        self.all.iter()
    }
}

fn terms<'a>(all: &'a [Subscriber], asked: &Asked) -> (Audience<'a>, &'a str) {
    let subscriber = &all[asked.subscriber as usize];
    let audience = if subscriber.takes_all_tenants() {
        Audience::AllTenants
    } else {
        Audience::Tenant(subscriber.tenant())
    };
    (audience, subscriber.patterns()[asked.pattern as usize].key())
}
