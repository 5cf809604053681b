//! The packed batch: token ids of all sequences end to end. No padding, anywhere.

use super::Tokens;

/// What one forward pass works on.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Token ids, `[tokens]`.
    pub ids: Vec<u32>,
    /// Their token types, `[tokens]`; 0 but for the second text of a pair.
    pub types: Vec<u32>,
    /// Where each sequence begins, `[sequences + 1]`: first 0, last the number of tokens.
    pub offsets: Vec<usize>,
    /// Tokens at the start of each sequence that pooling leaves out, `[sequences]`.
    pub skip: Vec<usize>,
    /// How many tokens of each sequence, the first ones, are attended to, `[sequences]`.
    pub keys: Vec<usize>,
    /// Rows of tokens that have no vector, in ascending order.
    pub dropped: Vec<usize>,
}

impl Batch {
    /// Packs sequences in the order given.
    pub fn pack<'a>(sequences: impl IntoIterator<Item = &'a Tokens>) -> Self {
        let mut batch = Self {
            ids: Vec::new(),
            types: Vec::new(),
            offsets: vec![0],
            skip: Vec::new(),
            keys: Vec::new(),
            dropped: Vec::new(),
        };
        for tokens in sequences {
            let first = batch.ids.len();
            batch
                .dropped
                .extend(tokens.dropped.iter().map(|at| first + at));
            batch.keys.push(tokens.ids.len() - tokens.unattended);
            batch.ids.extend_from_slice(&tokens.ids);
            batch.types.extend_from_slice(&tokens.types);
            batch.types.resize(batch.ids.len(), 0);
            batch.offsets.push(batch.ids.len());
            batch.skip.push(tokens.prompt);
        }
        batch
    }

    /// Number of keys of each sequence; none if all tokens are attended to.
    pub fn fewer_keys(&self) -> Option<&[usize]> {
        let lengths = self.offsets.windows(2).map(|pair| pair[1] - pair[0]);
        let is_fewer = lengths.zip(&self.keys).any(|(length, keys)| *keys < length);
        is_fewer.then_some(&self.keys)
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.skip.len()
    }
}
