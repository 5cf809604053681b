//! Sets of characters as sorted ranges, with the classes that patterns name.
//!
//! The data are Oniguruma's (Unicode 16), since patterns of tokenizers are written for it.
//! `tests/fixtures/unicode.py` writes them, and checks the classes that are made of them.

/// General categories in the order of unicode.bin.
const CATEGORIES: [&str; 30] = [
    "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi",
    "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn",
];
/// Added to the category of a character that is alphabetic but neither a letter nor a number.
const ALPHABETIC: u8 = 32;
/// The script Han.
const HAN: [(u32, u32); 22] = [
    (0x2e80, 0x2e99),
    (0x2e9b, 0x2ef3),
    (0x2f00, 0x2fd5),
    (0x3005, 0x3005),
    (0x3007, 0x3007),
    (0x3021, 0x3029),
    (0x3038, 0x303b),
    (0x3400, 0x4dbf),
    (0x4e00, 0x9fff),
    (0xf900, 0xfa6d),
    (0xfa70, 0xfad9),
    (0x16fe2, 0x16fe3),
    (0x16ff0, 0x16ff1),
    (0x20000, 0x2a6df),
    (0x2a700, 0x2b739),
    (0x2b740, 0x2b81d),
    (0x2b820, 0x2cea1),
    (0x2ceb0, 0x2ebe0),
    (0x2ebf0, 0x2ee5d),
    (0x2f800, 0x2fa1d),
    (0x30000, 0x3134a),
    (0x31350, 0x323af),
];
const LAST: u32 = 0x10_ffff;

/// A set of characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Sorted inclusive ranges, with a gap between any two.
    ranges: Vec<(u32, u32)>,
    /// The first 128 characters.
    ascii: u128,
}

impl Set {
    pub fn new(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        merged.shrink_to_fit();
        let mut ascii = 0;
        for (low, high) in &merged {
            for c in *low..=(*high).min(127) {
                ascii |= 1 << c;
            }
        }
        Self {
            ranges: merged,
            ascii,
        }
    }

    pub fn of(chars: &[char]) -> Self {
        Self::new(chars.iter().map(|c| (*c as u32, *c as u32)).collect())
    }

    #[inline]
    pub fn has(&self, c: char) -> bool {
        let c = c as u32;
        if c < 128 {
            return self.ascii >> c & 1 == 1;
        }
        let after = self.ranges.partition_point(|(low, _)| *low <= c);
        after > 0 && self.ranges[after - 1].1 >= c
    }

    /// The only character of the set, if there is just one.
    pub fn single(&self) -> Option<u32> {
        match self.ranges[..] {
            [(low, high)] if low == high => Some(low),
            _ => None,
        }
    }

    /// Number of ranges.
    pub fn size(&self) -> usize {
        self.ranges.len()
    }

    pub fn or(&self, other: &Self) -> Self {
        Self::new([self.ranges.as_slice(), &other.ranges].concat())
    }

    pub fn and(&self, other: &Self) -> Self {
        self.not().or(&other.not()).not()
    }

    pub fn not(&self) -> Self {
        let mut next = 0;
        let mut ranges = Vec::new();
        for (low, high) in &self.ranges {
            if *low > next {
                ranges.push((next, low - 1));
            }
            next = high + 1;
        }
        if next <= LAST {
            ranges.push((next, LAST));
        }
        Self::new(ranges)
    }

    pub fn intersects(&self, other: &Self) -> bool {
        !self.and(other).ranges.is_empty()
    }

    /// The set's ASCII letters in both cases, with the characters that Unicode folds to them. None
    /// if the set has other characters with case.
    pub fn any_case(&self) -> Option<Self> {
        if self.ranges.iter().any(|(_, high)| *high > 127) {
            return None;
        }
        let mut ranges = self.ranges.clone();
        for letter in (b'a'..=b'z').map(char::from) {
            let upper = letter.to_ascii_uppercase();
            if self.has(letter) || self.has(upper) {
                ranges.extend([letter, upper].map(|c| (c as u32, c as u32)));
                match letter {
                    's' => ranges.push((0x17f, 0x17f)),
                    'k' => ranges.push((0x212a, 0x212a)),
                    _ => {}
                }
            }
        }
        Some(Self::new(ranges))
    }

    /// Whitespace.
    pub fn space() -> Self {
        Self::categories(|category| category.starts_with('Z'), false)
            .or(&Self::new(vec![(9, 13), (0x85, 0x85)]))
    }

    /// What `\w` matches within a class.
    pub fn word() -> Self {
        let kinds = |category: &str| {
            category.starts_with(['L', 'M']) || ["Nd", "Nl", "Pc"].contains(&category)
        };
        Self::categories(kinds, true)
    }

    /// What `\w` matches outside of a class. For Latin-1, Oniguruma has another table there, with
    /// fractions and superscripts.
    pub fn bare_word() -> Self {
        Self::word().or(&Self::new(vec![(0xb2, 0xb3), (0xb9, 0xb9), (0xbc, 0xbe)]))
    }

    /// Decimal digits.
    pub fn digit() -> Self {
        Self::categories(|category| category == "Nd", false)
    }

    /// The class with a name between `[:` and `:]`.
    pub fn posix(name: &str) -> Option<Self> {
        let letter = |category: &str| category.starts_with('L') || category == "Nl";
        Some(match name {
            "alpha" => Self::categories(letter, true),
            "digit" => Self::digit(),
            "punct" => Self::categories(|category| category.starts_with(['P', 'S']), false),
            "space" => Self::space(),
            "word" => Self::word(),
            "ascii" => Self::new(vec![(0, 127)]),
            "xdigit" => Self::new(vec![(48, 57), (65, 70), (97, 102)]),
            _ => return None,
        })
    }

    /// The class with a name between `\p{` and `}`.
    pub fn property(name: &str) -> Option<Self> {
        let category = match name {
            "Han" => return Some(Self::new(HAN.to_vec())),
            "Letter" => "L",
            "Mark" => "M",
            "Number" => "N",
            "Punctuation" | "Punct" => "P",
            "Symbol" => "S",
            "Separator" => "Z",
            "Any" => return Some(Self::new(vec![(0, LAST)])),
            name => name,
        };
        let known = |known: &&str| known.starts_with(category);
        if category.is_empty() || !CATEGORIES.iter().any(&known) {
            return Self::posix(&name.to_ascii_lowercase());
        }
        Some(Self::categories(|name| known(&name), false))
    }

    /// All characters of some categories, optionally with characters that are alphabetic but no
    /// letters.
    fn categories(wanted: impl Fn(&str) -> bool, alphabetic: bool) -> Self {
        let wanted = CATEGORIES.map(wanted);
        let mut bytes = include_bytes!("unicode.bin").iter().copied();
        let mut ranges = Vec::new();
        let mut start = 0;
        while start <= LAST {
            let mut length = 0;
            let mut shift = 0;
            for byte in bytes.by_ref() {
                length |= u32::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            let category = bytes.next().unwrap_or_default();
            let other = alphabetic && category & ALPHABETIC != 0;
            if wanted[usize::from(category % ALPHABETIC)] || other {
                ranges.push((start, start + length - 1));
            }
            start += length.max(1);
        }
        Self::new(ranges)
    }
}
