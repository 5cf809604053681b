//! Random identifiers.

/// Returns a random UUID (version 4).
pub fn random() -> String {
    let (high, low) = (bits(), bits());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

/// Returns random bits. The hash maps of the standard library have random keys.
#[cfg(not(target_arch = "wasm32"))]
fn bits() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// Returns random bits. In wasm, the standard library has no random numbers.
#[cfg(target_arch = "wasm32")]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in the range of u32"
)]
fn bits() -> u64 {
    let half = || (js_sys::Math::random() * 4_294_967_296.0) as u32;
    u64::from(half()) << 32 | u64::from(half())
}

#[cfg(test)]
mod tests {
    #[test]
    fn identifiers_are_uuids_and_differ() {
        let (one, other) = (super::random(), super::random());
        assert_ne!(one, other);
        let bytes = one.as_bytes();
        assert_eq!(bytes.len(), 36);
        for (place, byte) in bytes.iter().enumerate() {
            match place {
                8 | 13 | 18 | 23 => assert_eq!(*byte, b'-'),
                14 => assert_eq!(*byte, b'4'),
                19 => assert!(b"89ab".contains(byte), "{one}"),
                _ => assert!(byte.is_ascii_hexdigit(), "{one}"),
            }
        }
    }
}
