//! The template for two texts as one sequence, for models that score pairs: which special tokens
//! are around both, and which token type each token has.

/// A part of what a template makes of two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The first text's tokens.
    First,
    /// The second text's tokens.
    Second,
    /// A special token.
    Token(u32),
}

/// A template for two texts: its pieces, each with its token type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair(pub Vec<(Piece, u32)>);

impl Default for Pair {
    /// Without special tokens.
    fn default() -> Self {
        Self(vec![(Piece::First, 0), (Piece::Second, 1)])
    }
}

impl Pair {
    /// A template that has each text once.
    pub fn new(pieces: Vec<(Piece, u32)>) -> Option<Self> {
        let count = |wanted| pieces.iter().filter(|(piece, _)| *piece == wanted).count();
        (count(Piece::First) == 1 && count(Piece::Second) == 1).then_some(Self(pieces))
    }

    /// BERT's: `[CLS] A [SEP] B [SEP]`, where the second text and what follows have the type 1.
    pub fn bert(before: &[u32], after: &[u32]) -> Self {
        Self::of(&[before, &[]], after, 1)
    }

    /// RoBERTa's: `<s> A </s> </s> B </s>`, all of type 0.
    pub fn roberta(before: &[u32], after: &[u32]) -> Self {
        Self::of(&[before, after], after, 0)
    }

    /// T5's: `A </s> B </s>`, all of type 0.
    pub fn t5(after: &[u32]) -> Self {
        Self::of(&[&[], &[]], after, 0)
    }

    /// Tokens before the first text, its own closing tokens, further ones before the second text,
    /// and closing tokens again.
    fn of([before, between]: &[&[u32]; 2], after: &[u32], second: u32) -> Self {
        let tokens = |ids: &[u32], kind| -> Vec<(Piece, u32)> {
            ids.iter().map(|id| (Piece::Token(*id), kind)).collect()
        };
        let parts = [
            tokens(before, 0),
            vec![(Piece::First, 0)],
            tokens(after, 0),
            tokens(between, 0),
            vec![(Piece::Second, second)],
            tokens(after, second),
        ];
        Self(parts.concat())
    }

    /// Special tokens of a pair.
    pub fn added(&self) -> usize {
        self.0.len() - 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_each_text_once() {
        assert!(Pair::new(vec![(Piece::First, 0)]).is_none());
        let bert = Pair::bert(&[2], &[3]);
        assert_eq!(bert.added(), 3);
        assert_eq!(
            bert.0.iter().map(|(_, kind)| *kind).collect::<Vec<_>>(),
            [0, 0, 0, 1, 1]
        );
        assert_eq!(Pair::roberta(&[0], &[2]).added(), 4);
        assert_eq!(Pair::t5(&[1]).added(), 2);
    }
}
