//! Maps that take little code.

use std::collections::BTreeMap;

/// A map of the entries; of several with the same key, the last one. `collect` sorts the entries
/// first, which is a sort of its own for each type of map: 5 KB of wasm. This inserts them.
pub fn map<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(entries);
    map
}
