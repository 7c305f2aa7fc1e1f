//! Making events of changed rows, and writing them in batches.

use crate::column::Values;
use crate::emit::render;
use crate::identifier;
use crate::rendering;
use crate::scratch::Scratch;
use crate::source::{Operation, Source};
use crate::store::{self, NewEvent};
use crate::table::Table;
use protocol::envelope::write_json_string;

/// Events are written this many at a time, or once their bodies add up to BATCH_BYTES: enough to spread the cost of
/// a statement, little enough to keep memory flat however many rows there are.
const BATCH_ROWS: usize = 1000;
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// What most rows take as JSON: one that takes more makes it grow.
const ROW_BYTES: usize = 2 * 1024;

/// Events made and not yet written, and the memory their rendering took.
pub struct Batch {
    scratch: Scratch,
    events: Vec<NewEvent>,
    bytes: usize,
    data: String,
    previous: String,
    changed: String,
}

impl Batch {
    pub fn new() -> Self {
        Self {
            scratch: Scratch::new(),
            events: Vec::new(),
            bytes: 0,
            data: String::with_capacity(ROW_BYTES),
            previous: String::new(),
            changed: String::new(),
        }
    }

    /// Makes the events of a changed row, and writes what was made once it is enough.
    pub fn changed(
        &mut self,
        table: &Table,
        sources: &[&Source],
        old: Option<&Values>,
        new: Option<&Values>,
    ) {
        let before = self.scratch.enter();
        for source in sources {
            self.add(table, source, old, new);
        }
        Scratch::leave(before);
        self.flush_if_full();
    }

    fn add(&mut self, table: &Table, source: &Source, old: Option<&Values>, new: Option<&Values>) {
        let operation = match (old, new) {
            (None, _) => Operation::Insert,
            (_, None) => Operation::Delete,
            _ => Operation::Update,
        };
        let Some(event_type) = source.event_type(operation) else { return };
        let Some(row) = new.or(old) else { return };
        let mut is_update = false;
        if let (Some(old), Some(new)) = (old, new) {
            is_update = true;
            if !self.compare(table, source, old, new) {
                return;
            }
        }
        let verdict = source.expressions.as_ref().map(|expressions| expressions.evaluate(table, old, new));
        if verdict.as_ref().is_some_and(|verdict| !verdict.applies) {
            return;
        }
        rendering::write_row(&mut self.data, table, source, row);
        let function = source.body_function.as_ref();
        if let Some(function) = function {
            self.data = function.call(table, row, &self.data);
        }
        let stamp = identifier::next();
        let body = render(
            stamp,
            event_type,
            &self.data,
            (is_update && function.is_none()).then_some(self.previous.as_str()),
            is_update.then_some(self.changed.as_str()),
        );
        let (tenant, key) = verdict.map_or((None, None), |verdict| (verdict.tenant, verdict.key));
        // The old key when an update changes it: receivers know the row by it.
        let key = if source.has_key {
            key
        } else {
            table.key_of(old.unwrap_or(row)).map(|k| [&table.name, ":", &k].concat())
        };
        self.push(NewEvent { stamp, event_type: event_type.clone(), tenant, key, body, deliver_at: None });
    }

    /// Whether the update is an event; if so, its old values and the names of the columns are at hand.
    fn compare(&mut self, table: &Table, source: &Source, old: &Values, new: &Values) -> bool {
        self.previous.clear();
        self.changed.clear();
        let mut any = false;
        for column in source.rendered.iter().map(|index| &table.columns[*index]) {
            if column.differs(old, new) {
                self.previous.push(if any { ',' } else { '{' });
                self.changed.push(if any { ',' } else { '[' });
                column.write_member(&mut self.previous, old);
                write_json_string(&mut self.changed, &column.name);
                any = true;
            }
        }
        self.previous.push('}');
        self.changed.push(']');
        any && source
            .watched
            .as_ref()
            .is_none_or(|watched| watched.iter().any(|index| table.columns[*index].differs(old, new)))
    }

    pub fn truncated(&mut self, table: &Table, source: &Source) {
        let Some(event_type) = source.event_type(Operation::Truncate) else { return };
        self.data.clear();
        self.data.push_str("{\"table\":");
        write_json_string(&mut self.data, &table.name);
        self.data.push('}');
        let stamp = identifier::next();
        let body = render(stamp, event_type, &self.data, None, None);
        let event_type = event_type.clone();
        self.push(NewEvent { stamp, event_type, tenant: None, key: None, body, deliver_at: None });
    }

    fn push(&mut self, event: NewEvent) {
        if event.tenant.as_deref().is_some_and(|tenant| tenant.is_empty() || tenant.len() > 256) {
            crate::refuse(
                "the source's tenant expression gave a text that has not 1 to 256 bytes",
                "Let it be NULL instead.",
            );
        }
        self.bytes += event.body.len();
        self.events.push(event);
    }

    fn flush_if_full(&mut self) {
        if self.events.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Writes what was made.
    pub fn flush(&mut self) {
        let before = self.scratch.enter();
        store::enqueue(&self.events);
        Scratch::leave(before);
        self.scratch.clear();
        self.events.clear();
        self.bytes = 0;
    }
}
