//! A hash that tells models apart: FNV-1a over words. One multiplication per value costs little
//! beside quantisation. It does not protect against forgery.

/// A hash of what has been added so far.
pub struct Fingerprint(pub u64);

impl Fingerprint {
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    /// The hash of a name.
    pub fn new(name: &str) -> Self {
        let start = 0xcbf2_9ce4_8422_2325;
        Self(name.bytes().fold(start, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(Self::PRIME)
        }))
    }

    /// Adds values.
    pub fn update(&mut self, values: &[f32]) {
        let step = |hash: u64, value: u64| (hash ^ value).wrapping_mul(Self::PRIME);
        // Four hashes are computed in parallel, because each multiplication depends on the one
        // before.
        let mut lanes = [
            self.0,
            !self.0,
            self.0.rotate_left(16),
            self.0.rotate_left(32),
        ];
        let (chunks, rest) = values.as_chunks::<4>();
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane = step(*lane, u64::from(value.to_bits()));
            }
        }
        let lanes = lanes.into_iter().reduce(step).unwrap_or_default();
        let rest = rest.iter().map(|value| u64::from(value.to_bits()));
        self.0 = rest.fold(lanes, step);
    }

    /// Adds a quantised row.
    pub fn update_codes(&mut self, codes: &[i8], scales: &[f32]) {
        self.update_bytes(bytemuck::cast_slice(codes));
        self.update(scales);
    }

    /// Adds bytes, eight at a time.
    pub fn update_bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        let words = words.chain(rest.iter().map(|byte| u64::from(*byte)));
        self.0 = words.fold(self.0, |hash, word| (hash ^ word).wrapping_mul(Self::PRIME));
    }
}
