//! One change of each row, out of all that a transaction made: the first old values and the last new ones.

use std::collections::HashMap;

/// A row as a statement found or left it, under its primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed<R> {
    pub key: String,
    pub row: R,
}

/// What a statement did to a row: `old` alone is a DELETE, `new` alone an INSERT, both an UPDATE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<R> {
    /// Changes of one statement happen at once: keys may be swapped among its rows.
    pub statement: u64,
    pub old: Option<Keyed<R>>,
    pub new: Option<Keyed<R>>,
}

/// Folds changes, in the order they were made, into one (old, new) for each row, in the order of the rows' first
/// changes. A row that is gone again as it came is none. A row is followed through changes of its key; one that is
/// deleted and inserted again under its key is updated.
pub fn fold<R>(changes: impl IntoIterator<Item = Change<R>>) -> Vec<(Option<R>, Option<R>)> {
    let mut rows: Vec<(Option<R>, Option<R>)> = Vec::new();
    // Which row is found under a key now, or was there last.
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut changes = changes.into_iter().peekable();
    while let Some(first) = changes.next() {
        let statement = first.statement;
        let mut left = Vec::new();
        let mut change = Some(first);
        while let Some(Change { old, new, .. }) = change {
            let place = old.map(|Keyed { key, row }| {
                let place = places.remove(&key).unwrap_or_else(|| {
                    rows.push((Some(row), None));
                    rows.len() - 1
                });
                rows[place].1 = None;
                (place, key)
            });
            left.push((place, new));
            change = changes.next_if(|next| next.statement == statement);
        }
        for (place, new) in left {
            match (place, new) {
                (place, Some(Keyed { key, row })) => {
                    let place = place.map(|(place, _)| place).or_else(|| places.remove(&key));
                    let place = place.unwrap_or_else(|| {
                        rows.push((None, None));
                        rows.len() - 1
                    });
                    rows[place].1 = Some(row);
                    places.insert(key, place);
                }
                (Some((place, key)), None) => {
                    places.entry(key).or_insert(place);
                }
                (None, None) => {}
            }
        }
    }
    rows.retain(|row| !matches!(row, (None, None)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn change(
        statement: u64,
        old: Option<(&str, &'static str)>,
        new: Option<(&str, &'static str)>,
    ) -> Change<&'static str> {
        let keyed = |(key, row): (&str, &'static str)| Keyed { key: key.to_owned(), row };
        Change { statement, old: old.map(keyed), new: new.map(keyed) }
    }

    #[test]
    fn first_old_and_last_new() {
        for (changes, expected) in [
            (
                vec![change(1, None, Some(("1", "a"))), change(2, Some(("1", "a")), Some(("1", "b")))],
                vec![(None, Some("b"))],
            ),
            (vec![change(1, None, Some(("1", "a"))), change(2, Some(("1", "a")), None)], vec![]),
            (
                vec![
                    change(1, Some(("1", "a")), Some(("1", "b"))),
                    change(2, Some(("1", "b")), Some(("1", "c"))),
                ],
                vec![(Some("a"), Some("c"))],
            ),
            (
                vec![change(1, Some(("1", "a")), Some(("1", "b"))), change(2, Some(("1", "b")), None)],
                vec![(Some("a"), None)],
            ),
            (
                vec![change(1, Some(("1", "a")), None), change(2, None, Some(("1", "b")))],
                vec![(Some("a"), Some("b"))],
            ),
            // the key changes twice
            (
                vec![
                    change(1, Some(("1", "a")), Some(("2", "b"))),
                    change(2, Some(("2", "b")), Some(("3", "c"))),
                ],
                vec![(Some("a"), Some("c"))],
            ),
            // a key that was freed goes to a new row
            (
                vec![change(1, Some(("1", "a")), Some(("2", "a2"))), change(2, None, Some(("1", "n")))],
                vec![(Some("a"), Some("a2")), (None, Some("n"))],
            ),
            // two rows swap their keys within a statement
            (
                vec![
                    change(1, Some(("1", "a")), Some(("2", "a2"))),
                    change(1, Some(("2", "b")), Some(("1", "b2"))),
                ],
                vec![(Some("a"), Some("a2")), (Some("b"), Some("b2"))],
            ),
        ] {
            assert_eq!(fold(changes.clone()), expected, "{changes:?}");
        }
    }

    proptest! {
        /// Applied to the table as it was, the folded changes make the table as it became; and no row is there twice.
        #[test]
        fn folded_changes_do_what_all_changes_did(
            start in prop::collection::btree_map("[a-d]", 0u32..9, 0..4),
            statements in prop::collection::vec(prop::collection::vec(("[a-d]", prop::option::of(("[a-d]", 0u32..9))), 1..4), 0..12),
        ) {
            let mut table: BTreeMap<String, u32> = start.clone();
            let mut changes = Vec::new();
            for (number, statement) in statements.into_iter().enumerate() {
                // What a database would refuse is left out: a row changed twice, or two rows with one key.
                let before = table.clone();
                let (mut touched, mut made) = (Vec::new(), Vec::new());
                for (key, new) in statement {
                    if touched.contains(&key) { continue; }
                    touched.push(key.clone());
                    made.push((key.clone(), before.get(&key).copied(), new));
                }
                let mut after = before.clone();
                for (key, _, _) in &made { after.remove(key); }
                let mut done = Vec::new();
                for (key, old, new) in made {
                    let new = new.filter(|(key, _)| !after.contains_key(key));
                    if let Some((key, row)) = &new { after.insert(key.clone(), *row); }
                    let old = old.map(|row| Keyed { key, row });
                    if old.is_some() || new.is_some() {
                        done.push(Change { statement: number as u64, old, new: new.map(|(key, row)| Keyed { key, row }) });
                    }
                }
                table = after;
                changes.extend(done);
            }
            let mut olds: Vec<u32> = start.values().copied().collect();
            let mut news: Vec<u32> = table.values().copied().collect();
            for (old, new) in fold(changes) {
                if let Some(old) = old {
                    let place = olds.iter().position(|row| *row == old);
                    prop_assert!(place.is_some(), "an old row that was not there");
                    olds.swap_remove(place.unwrap_or(0));
                }
                if let Some(new) = new {
                    let place = news.iter().position(|row| *row == new);
                    prop_assert!(place.is_some(), "a new row that is not there");
                    news.swap_remove(place.unwrap_or(0));
                }
            }
            // What is left was not touched.
            olds.sort_unstable();
            news.sort_unstable();
            prop_assert_eq!(olds, news);
        }
    }
}
