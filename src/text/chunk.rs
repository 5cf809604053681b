//! Long texts → chunks that fit: cut at the ends of paragraphs and sentences, or else between
//! words, with an overlap.

use std::ops::Range;

use super::Tokenizer;
use super::pipeline::{Encoding, Ends};
use super::rules::Rules;
use super::tokenizer::Tokens;
use crate::error::{Error, Result};

/// How texts are split.
#[derive(Clone, Copy, Debug)]
pub struct Chunking {
    /// The most tokens of a chunk, special tokens and the prompt included.
    pub size: usize,
    /// The most tokens of a chunk that the next one repeats.
    pub overlap: usize,
    /// Whether chunks are pooled from passes over as much of the text as the model takes, instead
    /// of each by itself (late chunking, Günther et al. 2024).
    pub late: bool,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its byte range in the text.
    pub bytes: Range<usize>,
    /// Its range in the text in UTF-16 code units, as JavaScript counts.
    pub utf16: Range<usize>,
    /// Its range in the text's tokens, counted without special tokens.
    pub tokens: Range<usize>,
}

/// A text that is being split into chunks, in bounded steps. White space at their ends is left out,
/// and a text that has nothing else has no chunks.
pub struct Chunker {
    text: String,
    /// Number of the text in the request, for errors.
    index: usize,
    chunking: Chunking,
    /// The most tokens of a chunk without special tokens and prompt.
    room: usize,
    /// Byte ranges of the text's tokens.
    places: Vec<(usize, usize)>,
    /// For each token, how good its beginning is to cut at; and one for the end of the text.
    cuts: Vec<Cut>,
    utf16: Utf16,
    stage: Stage,
}

/// What a [`Chunker`] does next.
enum Stage {
    /// Looks for the places of tokens.
    Places(Box<Encoding>),
    /// Rates the places between tokens. The number is the byte at which the tokens so far end.
    Cuts(Around, usize),
    /// Makes the chunk that begins at a token.
    Chunks(usize),
}

/// What a step of a [`Chunker`] gives.
pub enum ChunkStep {
    /// The next chunk, and its tokens.
    Chunk(Chunk, Tokens),
    /// The budget is spent.
    Pending,
    /// There are no more chunks.
    Done,
}

impl Chunker {
    /// Checks that chunks have room for tokens of text.
    pub fn new(
        tokenizer: &Tokenizer,
        index: usize,
        text: String,
        rules: Rules,
        chunking: Chunking,
    ) -> Result<Self> {
        let around = tokenizer.tokens(0, &"".into(), whole(rules))?.ids.len();
        Ok(Self {
            room: check(chunking, around, rules.limit)?,
            stage: Stage::Places(Box::new(tokenizer.begin_places(&text))),
            text,
            index,
            chunking,
            places: Vec::new(),
            cuts: Vec::new(),
            utf16: Utf16::default(),
        })
    }

    /// Works until there is a chunk, or until about `budget` bytes of text are done. These are
    /// taken off the budget.
    pub fn next(
        &mut self,
        tokenizer: &Tokenizer,
        rules: Rules,
        budget: &mut usize,
    ) -> Result<ChunkStep> {
        while *budget > 0 {
            match &mut self.stage {
                Stage::Places(encoding) => {
                    if let Some(places) = tokenizer.next_places(&self.text, encoding, budget)? {
                        self.places = places;
                        self.stage = Stage::Cuts(Around::new(&self.text), 0);
                    }
                }
                Stage::Cuts(around, before) => match self.places.get(self.cuts.len()) {
                    None => {
                        self.cuts.push(Cut::Paragraph);
                        self.stage = Stage::Chunks(0);
                    }
                    Some(place) => {
                        *budget = budget.saturating_sub(1 + place.0.saturating_sub(around.at));
                        self.cuts.push(around.cut_at(&self.text, *place, before));
                    }
                },
                Stage::Chunks(start) if *start >= self.places.len() => return Ok(ChunkStep::Done),
                Stage::Chunks(start) => {
                    let start = *start;
                    let (end, bytes, tokens) = self.chunk(tokenizer, rules, start)?;
                    *budget = budget.saturating_sub(bytes.len().max(1));
                    check_fits(self.index, &tokens, rules.limit)?;
                    self.stage = Stage::Chunks(if end == self.places.len() {
                        end
                    } else {
                        next(&self.cuts, start, end, self.chunking.overlap)
                    });
                    if !bytes.is_empty() {
                        let utf16 = self.utf16.at(&self.text, bytes.start)
                            ..self.utf16.at(&self.text, bytes.end);
                        let chunk = Chunk {
                            utf16,
                            bytes,
                            tokens: start..end,
                        };
                        return Ok(ChunkStep::Chunk(chunk, tokens));
                    }
                }
            }
        }
        Ok(ChunkStep::Pending)
    }

    /// The chunk that begins at token `start`: the token that it ends before, its bytes and its own
    /// tokens.
    fn chunk(
        &self,
        tokenizer: &Tokenizer,
        rules: Rules,
        start: usize,
    ) -> Result<(usize, Range<usize>, Tokens)> {
        let (text, places) = (&self.text, &self.places);
        let mut room = self.room;
        loop {
            let end = end(&self.cuts, start, room);
            let bytes = trimmed(text, place(text, places, start)..place(text, places, end));
            let tokens = tokenizer.tokens(0, &(&text[bytes.clone()]).into(), whole(rules))?;
            // A chunk may have more tokens by itself than as a part of the text.
            let excess = tokens.ids.len().saturating_sub(self.chunking.size);
            if excess == 0 || room <= excess {
                return Ok((end, bytes, tokens));
            }
            room -= excess;
        }
    }

    /// The text, once the chunks are done.
    pub fn into_text(self) -> String {
        self.text
    }
}

fn whole(rules: Rules) -> Rules {
    Rules {
        limit: usize::MAX,
        ..rules
    }
}

/// The tokens of a pass over chunks of a text, with a span for each of chunks `done..end`, and that
/// `end`. A pass has as many chunks as fit into the model, and begins with the chunk before them,
/// for context.
pub fn late_pass(
    tokenizer: &Tokenizer,
    index: usize,
    text: &str,
    rules: Rules,
    chunks: &[Chunk],
    done: usize,
) -> Result<(Tokens, usize)> {
    let mut first = done.saturating_sub(1);
    let fits = |chunk: &Chunk| chunk.tokens.end - chunks[first].tokens.start <= rules.limit;
    let fitting = chunks[done..].iter().take_while(|chunk| fits(chunk));
    let mut end = (done + fitting.count()).max(done + 1);
    let tokens = loop {
        let base = chunks[first].bytes.start;
        let ranges: Vec<_> = chunks[done..end]
            .iter()
            .map(|chunk| chunk.bytes.start - base..chunk.bytes.end - base)
            .collect();
        let pass = &text[base..chunks[end - 1].bytes.end];
        let ends = Ends {
            start: done == 0,
            end: end == chunks.len(),
        };
        let tokens = tokenizer.spanned(pass, &ranges, rules, ends)?;
        if tokens.ids.len() <= rules.limit || (first == done && end == done + 1) {
            break tokens;
        }
        if end > done + 1 {
            end -= 1;
        } else {
            first = done;
        }
    };
    check_fits(index, &tokens, rules.limit)?;
    Ok((tokens, end))
}

/// Errors if tokens do not fit into the model: a text without a place to cut at may have too many.
fn check_fits(index: usize, tokens: &Tokens, limit: usize) -> Result<()> {
    let tokens = tokens.ids.len();
    if tokens <= limit {
        return Ok(());
    }
    Err(Error::InputTooLong {
        index,
        tokens,
        limit,
    })
}

/// The number of tokens of text that a chunk has room for.
fn check(chunking: Chunking, around: usize, limit: usize) -> Result<usize> {
    let Chunking { size, overlap, .. } = chunking;
    if size > limit || size <= around {
        return Err(Error::input(
            "chunkSize",
            format!(
                "chunkSize is {size}; with this model, special tokens and prompt, it must be a whole number from {} to {limit}",
                around + 1
            ),
        ));
    }
    let room = size - around;
    if overlap >= room {
        return Err(Error::input(
            "overlap",
            format!(
                "overlap is {overlap}; it must be less than the {room} tokens of text that a chunk has"
            ),
        ));
    }
    Ok(room)
}

/// How good a place between two tokens is to cut at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    /// In the middle of a character.
    Never,
    Anywhere,
    Word,
    Sentence,
    Paragraph,
}

/// What is around a place in a text. The place only moves forward, so that each character is looked
/// at twice at most.
struct Around {
    at: usize,
    /// The last character before the place that closes no quotation.
    last: Option<char>,
    /// The white space that the place is in or at the end of: where it ends, its line feeds, and
    /// `last` before it.
    gap: Option<(usize, usize, Option<char>)>,
}

impl Around {
    fn new(text: &str) -> Self {
        Self {
            at: 0,
            last: None,
            gap: gap(text, 0, None),
        }
    }

    /// How good the beginning of a token is to cut at. Tokens before it end at byte `before` at
    /// most.
    fn cut_at(&mut self, text: &str, (start, end): (usize, usize), before: &mut usize) -> Cut {
        let cut = if start < *before || !text.is_char_boundary(start) {
            Cut::Never
        } else {
            self.go_to(text, start);
            self.cut()
        };
        *before = end.max(*before);
        cut
    }

    fn go_to(&mut self, text: &str, at: usize) {
        for c in text[self.at..at.max(self.at)].chars() {
            self.at += c.len_utf8();
            let is_closing = matches!(
                c,
                '"' | '\'' | ')' | ']' | '»' | '”' | '’' | '」' | '』' | '）'
            );
            if !is_closing {
                self.last = Some(c);
            }
            if self.gap.is_none_or(|(end, ..)| end < self.at) {
                self.gap = gap(text, self.at, self.last);
            }
        }
    }

    fn cut(&self) -> Cut {
        let (lines, last) = match self.gap {
            Some((_, lines, last)) => (lines, last),
            None => (0, self.last),
        };
        if lines > 1 {
            return Cut::Paragraph;
        }
        match last {
            Some('。' | '！' | '？' | '｡') => Cut::Sentence,
            Some('.' | '!' | '?' | '…' | '؟' | '۔' | '।' | '॥' | '።') if self.gap.is_some() => {
                Cut::Sentence
            }
            _ if lines > 0 => Cut::Sentence,
            _ if self.gap.is_none() => Cut::Anywhere,
            _ => Cut::Word,
        }
    }
}

/// White space that begins at a place: where it ends, its line feeds, and what was before it.
fn gap(text: &str, at: usize, last: Option<char>) -> Option<(usize, usize, Option<char>)> {
    let rest = &text[at..];
    let length = rest.len() - rest.trim_start().len();
    let lines = rest[..length].matches('\n').count();
    (length > 0).then_some((at + length, lines, last))
}

/// The end of a chunk that begins at token `start` and has at most `room` tokens: of the best
/// places in its second half the last.
fn end(cuts: &[Cut], start: usize, room: usize) -> usize {
    let all = cuts.len() - 1;
    if all - start <= room {
        return all;
    }
    let least = start + room / 2 + 1;
    let most = start + room;
    let best = (least..=most).max_by_key(|at| cuts[*at]);
    let fallback = || (start + 1..least).rev().chain(most + 1..=all);
    // All places there are within a character: a smaller chunk is the next choice, then a larger
    // one.
    best.filter(|at| cuts[*at] > Cut::Never)
        .or_else(|| fallback().find(|at| cuts[*at] > Cut::Never))
        .unwrap_or(all)
}

/// Where the chunk after one of tokens `start..end` begins: of the best places among the last
/// `overlap` tokens the first.
fn next(cuts: &[Cut], start: usize, end: usize, overlap: usize) -> usize {
    let first = (start + 1).max(end.saturating_sub(overlap));
    let best = (first..end).rev().max_by_key(|at| cuts[*at]);
    best.filter(|at| cuts[*at] > Cut::Never).unwrap_or(end)
}

/// The byte at which a token begins, or the end of the text.
fn place(text: &str, places: &[(usize, usize)], token: usize) -> usize {
    places.get(token).map_or(text.len(), |(start, _)| *start)
}

/// A byte range without white space at its ends, and without parts of characters.
fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(range.start);
    let end = text.floor_char_boundary(range.end).max(start);
    let part = text[start..end].trim_end();
    let end = start + part.len();
    end - part.trim_start().len()..end
}

/// Counts units of UTF-16, from where it counted last.
#[derive(Default)]
struct Utf16 {
    bytes: usize,
    units: usize,
}

impl Utf16 {
    /// The units before a byte of the text.
    fn at(&mut self, text: &str, byte: usize) -> usize {
        let count = |part: &str| part.encode_utf16().count();
        if byte < self.bytes {
            self.units -= count(&text[byte..self.bytes]);
        } else {
            self.units += count(&text[self.bytes..byte]);
        }
        self.bytes = byte;
        self.units
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token for each word and each mark.
    fn places(text: &str) -> Vec<(usize, usize)> {
        let mut places: Vec<(usize, usize)> = Vec::new();
        let mut in_word = false;
        for (at, c) in text.char_indices() {
            let end = at + c.len_utf8();
            match places.last_mut() {
                Some(last) if in_word && c.is_alphanumeric() => last.1 = end,
                _ if c.is_whitespace() => {}
                _ => places.push((at, end)),
            }
            in_word = c.is_alphanumeric();
        }
        places
    }

    fn cuts(text: &str, places: &[(usize, usize)]) -> Vec<Cut> {
        let (mut around, mut before) = (Around::new(text), 0);
        let cuts = places
            .iter()
            .map(|place| around.cut_at(text, *place, &mut before));
        cuts.chain([Cut::Paragraph]).collect()
    }

    #[test]
    fn cuts_are_told_by_what_is_around_them() {
        let text = "One two. “Three.” Four\nfive\n\nsix3.14。七";
        let places = places(text);
        let named: Vec<_> = places
            .iter()
            .map(|&(start, end)| &text[start..end])
            .zip(cuts(text, &places))
            .collect();
        let of = |token| named.iter().find(|(name, _)| *name == token).unwrap().1;
        assert_eq!(of("two"), Cut::Word);
        assert_eq!(of("“"), Cut::Sentence);
        assert_eq!(of("Four"), Cut::Sentence);
        assert_eq!(of("five"), Cut::Sentence);
        assert_eq!(of("six3"), Cut::Paragraph);
        assert_eq!(of("14"), Cut::Anywhere);
        assert_eq!(of("七"), Cut::Sentence);
        // Two tokens of one character.
        assert_eq!(cuts("é", &[(0, 2), (0, 2)])[1], Cut::Never);
    }

    #[test]
    fn ends_prefer_sentences_and_beginnings_overlap() {
        let text = "a b c. d e f g. h i j k l m n o p";
        let places = places(text);
        let cuts = cuts(text, &places);
        let token = |at: usize| &text[places[at].0..places[at].1];
        // Of ten tokens the second half has one end of a sentence.
        let first = end(&cuts, 0, 10);
        assert_eq!(token(first), "h");
        // The sentence before begins within six tokens, "f" within three.
        assert_eq!(token(next(&cuts, 0, first, 6)), "d");
        assert_eq!(token(next(&cuts, 0, first, 3)), "f");
        assert_eq!(next(&cuts, 0, first, 0), first);
        // No sentence ends there: as many words as there is room for.
        assert_eq!(end(&cuts, first, 4), first + 4);
        assert_eq!(end(&cuts, first, 100), places.len());
    }

    #[test]
    fn units_of_utf16_are_counted_both_ways() {
        let text = "a😀é b";
        let mut utf16 = Utf16::default();
        for (byte, _) in text.char_indices().chain(text.char_indices().rev()) {
            assert_eq!(utf16.at(text, byte), text[..byte].encode_utf16().count());
        }
    }
}
