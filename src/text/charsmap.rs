//! Whether a precompiled charsmap, sentencepiece's normaliser as bytes, can be used: the library that does trusts every index
//! in it.
//!
//! It is the length of a trie in bytes, the trie (a double array, as Darts makes it), and the replacements, each ended by a
//! zero byte. A unit of the trie is a u32: a label, whether a value follows, and how far the children are.

use std::str;

/// Follows every path of the trie. The answer is what is wrong.
pub fn check(map: &[u8]) -> Result<(), &'static str> {
    const ENDS: &str = "its charsmap ends early";
    const LEADS: &str = "its charsmap leads out of its own trie";
    let (size, rest) = map.split_first_chunk().ok_or(ENDS)?;
    let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|_| ENDS)?;
    let (trie, replacements) = rest.split_at_checked(size).ok_or(ENDS)?;
    let (units, []) = trie.as_chunks::<4>() else {
        return Err("the trie of its charsmap is no whole number of units");
    };
    let replacements = str::from_utf8(replacements)
        .map_err(|_| "the replacements of its charsmap are not UTF-8")?;
    let unit = |at: usize| units.get(at).map(|unit| u32::from_le_bytes(*unit));
    let mut seen = vec![false; units.len()];
    let mut left = vec![0];
    while let Some(at) = left.pop() {
        let node = unit(at).ok_or(LEADS)?;
        // The shift is 8 where bit 9 is set.
        let offset = (node >> 10) as usize * if node >> 9 & 1 == 1 { 256 } else { 1 };
        let children = at ^ offset;
        if children | 255 >= units.len() {
            return Err(LEADS);
        }
        if at > 0 && node >> 8 & 1 == 1 {
            let value = unit(children).ok_or(LEADS)? & 0x7fff_ffff;
            let value = usize::try_from(value).map_err(|_| LEADS)?;
            if !replacements.is_char_boundary(value) {
                return Err("its charsmap leads out of its own replacements");
            }
        }
        for label in 1..=255u8 {
            let child = children ^ usize::from(label);
            let belongs = unit(child).is_some_and(|unit| unit & 0x8000_00ff == u32::from(label));
            if belongs && !std::mem::replace(&mut seen[child], true) {
                left.push(child);
            }
        }
    }
    Ok(())
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    #[test]
    fn what_leads_astray_is_refused() {
        let map = |size: u32, units: &[(usize, u32)], replacements: &[u8]| {
            let mut trie = vec![0; 256];
            for (at, unit) in units {
                trie[*at] = *unit;
            }
            let trie: Vec<u8> = trie
                .iter()
                .flat_map(|unit| u32::to_le_bytes(*unit))
                .collect();
            [&size.to_le_bytes(), trie.as_slice(), replacements].concat()
        };
        // The root's children are at 0 ^ label; those of "a" at 0x61 ^ 0x60, where its value is.
        let a = |value: u32| [(0x61, 0x60 << 10 | 1 << 8 | 0x61), (1, 1 << 31 | value)];
        assert_eq!(check(&map(1024, &a(0), b"x\0")), Ok(()));
        assert_eq!(check(&map(1024, &a(2), b"x\0")), Ok(()));
        for (map, words) in [
            (map(1024, &a(3), b"x\0"), "replacements"),
            (map(1024, &a(1), "ä".as_bytes()), "replacements"),
            (map(1024, &a(0), b"\xff"), "UTF-8"),
            (map(1028, &a(0), b"x\0\0"), "early"),
            (map(u32::MAX, &a(0), b""), "early"),
            (map(1022, &a(0), b""), "whole number"),
            (map(1020, &a(0), b""), "out of its own trie"),
            (map(1024, &[(0, 1 << 18)], b""), "out of its own trie"),
            (
                map(1024, &[(0x61, 1 << 18 | 0x61)], b""),
                "out of its own trie",
            ),
            (map(0, &[], b"")[..4].to_vec(), "out of its own trie"),
            (vec![0; 3], "early"),
        ] {
            let wrong = check(&map).unwrap_err();
            assert!(wrong.contains(words), "{wrong}: {words}");
        }
    }
}
