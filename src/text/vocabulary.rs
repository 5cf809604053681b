//! The entries of a vocabulary in one arena of bytes, with a hash table, and a filter of all
//! prefixes that tells when no longer entry can match.
//!
//! Indexing XLM-R's 250,002 pieces takes about 10 MB and a few dozen milliseconds. A map with a
//! `String` for each entry and its reverse take seconds and hundreds of megabytes in wasm.

/// The longest probe sequence in the table. Vocabularies that are not crafted stay far below.
const LONGEST_CHAIN: usize = 512;

/// Hash of a text (FNV-1a). It can be extended by the bytes that follow.
#[derive(Clone, Copy)]
pub struct Hash(u64);

impl Hash {
    pub const START: Self = Self(0xcbf2_9ce4_8422_2325);

    pub fn then(self, bytes: &[u8]) -> Self {
        bytes.iter().fold(self, |Self(hash), byte| {
            Self((hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
        })
    }

    /// A number of `bits` bits: the upper bits of a product (Fibonacci hashing), since FNV mixes
    /// towards the upper bits only.
    #[expect(clippy::cast_possible_truncation, reason = "at most 32 bits are left")]
    fn index(self, bits: u32) -> usize {
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)) as usize
    }
}

/// Entries in the order of the list.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    bytes: Vec<u8>,
    /// The end of each entry in `bytes`.
    ends: Vec<u32>,
}

impl Entries {
    /// Adds an entry. Returns false if there is no room for more.
    pub fn push(&mut self, entry: &str) -> bool {
        self.bytes.extend_from_slice(entry.as_bytes());
        let Ok(end) = u32::try_from(self.bytes.len()) else {
            return false;
        };
        self.ends.push(end);
        self.ends.len() < u32::MAX as usize
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    fn bytes(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[place] as usize]
    }

    pub fn get(&self, place: usize) -> Option<&str> {
        (place < self.len()).then(|| std::str::from_utf8(self.bytes(place)).ok())?
    }
}

/// Indexed entries.
pub struct Vocabulary {
    entries: Entries,
    /// A table with open addressing: 1 + index, or 0 if empty.
    table: Vec<u32>,
    table_bits: u32,
    /// A Bloom filter with one bit for the hash of each entry and of each of its prefixes.
    prefixes: Vec<u64>,
    prefix_bits: u32,
    /// Number of distinct entries. Only the last of equal entries can be found.
    distinct: usize,
}

impl Vocabulary {
    /// Indexes entries. The error says what is wrong with them.
    pub fn new(mut entries: Entries) -> Result<Self, String> {
        entries.bytes.shrink_to_fit();
        entries.ends.shrink_to_fit();
        // The table is at most half full. The filter has about eight bits for each prefix, of which
        // there are at most as many as bytes.
        let table_bits = (2 * entries.len().max(8)).next_power_of_two().ilog2();
        let prefix_bits = (4 * entries.bytes.len().max(64))
            .next_power_of_two()
            .ilog2();
        let mut vocabulary = Self {
            table: vec![0; 1 << table_bits],
            table_bits,
            prefixes: vec![0; 1 << (prefix_bits - 6)],
            prefix_bits,
            entries,
            distinct: 0,
        };
        for place in 0..vocabulary.entries.len() {
            vocabulary.index(place)?;
        }
        Ok(vocabulary)
    }

    fn index(&mut self, place: usize) -> Result<(), String> {
        let entry = self.entries.bytes(place);
        let mut hash = Hash::START;
        for (at, byte) in entry.iter().enumerate() {
            hash = hash.then(&[*byte]);
            let ends_a_character = entry.get(at + 1).is_none_or(|next| next & 0xc0 != 0x80);
            if ends_a_character {
                let bit = hash.index(self.prefix_bits);
                self.prefixes[bit / 64] |= 1 << (bit % 64);
            }
        }
        let mask = self.table.len() - 1;
        let first = hash.index(self.table_bits);
        for slot in (first..first + LONGEST_CHAIN).map(|slot| slot & mask) {
            let taken = self.table[slot].checked_sub(1);
            // The last of equal entries counts.
            if taken.is_none_or(|other| self.entries.bytes(other as usize) == entry) {
                self.distinct += usize::from(taken.is_none());
                self.table[slot] =
                    u32::try_from(place + 1).map_err(|_| "it has too many entries")?;
                return Ok(());
            }
        }
        Err("too many entries of its vocabulary have the same hash".to_owned())
    }

    /// The index of the entry with these bytes and this hash.
    pub fn find(&self, entry: &[u8], hash: Hash) -> Option<usize> {
        self.find_in_two(&[], entry, hash)
    }

    /// The index of the entry that is `start` followed by `rest`, with the hash of both.
    pub fn find_in_two(&self, start: &[u8], rest: &[u8], hash: Hash) -> Option<usize> {
        let mask = self.table.len() - 1;
        let first = hash.index(self.table_bits);
        for slot in (first..first + LONGEST_CHAIN).map(|slot| slot & mask) {
            let place = self.table[slot].checked_sub(1)? as usize;
            if self.entries.bytes(place).strip_prefix(start) == Some(rest) {
                return Some(place);
            }
        }
        None
    }

    /// Whether an entry may have a prefix with this hash.
    pub fn may_begin(&self, hash: Hash) -> bool {
        let bit = hash.index(self.prefix_bits);
        self.prefixes[bit / 64] >> (bit % 64) & 1 == 1
    }

    /// Number of entries in the list.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of distinct entries.
    pub fn distinct(&self) -> usize {
        self.distinct
    }

    /// The index of an entry.
    pub fn place(&self, entry: &str) -> Option<usize> {
        let entry = entry.as_bytes();
        self.find(entry, Hash::START.then(entry))
    }

    /// The entry at an index.
    pub fn get(&self, place: usize) -> Option<&str> {
        self.entries.get(place)
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|place| self.get(place))
    }
}

/// A vocabulary with an id for each entry.
pub struct Ids {
    vocabulary: Vocabulary,
    /// The id of each entry, by index.
    by_place: Vec<u32>,
    /// Indices, sorted by id.
    sorted: Vec<u32>,
}

impl Ids {
    /// Indexes entries and their ids.
    pub fn new(entries: Entries, ids: Vec<u32>) -> Result<Self, String> {
        let vocabulary = Vocabulary::new(entries)?;
        let mut sorted: Vec<u32> = (0..).take(ids.len()).collect();
        sorted.sort_by_key(|place| ids[*place as usize]);
        Ok(Self {
            vocabulary,
            by_place: ids,
            sorted,
        })
    }

    /// The entries.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The id of the entry at an index.
    pub fn at(&self, place: usize) -> u32 {
        self.by_place[place]
    }

    /// The id of an entry.
    pub fn id(&self, entry: &str) -> Option<u32> {
        Some(self.by_place[self.vocabulary.place(entry)?])
    }

    /// The entry with an id; the last one if there are several.
    pub fn entry(&self, id: u32) -> Option<&str> {
        let after = self
            .sorted
            .partition_point(|place| self.by_place[*place as usize] <= id);
        let place = *self.sorted.get(after.checked_sub(1)?)? as usize;
        (self.by_place[place] == id).then(|| self.vocabulary.get(place))?
    }

    /// The largest id.
    pub fn last(&self) -> Option<u32> {
        self.sorted
            .last()
            .map(|place| self.by_place[*place as usize])
    }
}
