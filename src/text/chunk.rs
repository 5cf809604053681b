//! Splits long texts into chunks with an overlap. Cuts are at the ends of paragraphs or sentences
//! where possible, else between words.

use std::ops::Range;

use super::Tokenizer;
use super::tokenizer::{Rules, Tokens};
use crate::error::{Error, Result};

/// How texts are split.
#[derive(Clone, Copy, Debug)]
pub struct Chunking {
    /// The most tokens of a chunk, special tokens and the prompt included.
    pub size: usize,
    /// The most tokens at the end of a chunk that are repeated at the beginning of the next one,
    /// approximately.
    pub overlap: usize,
    /// Whether chunks are pooled from passes over as much of the text as fits into the model (late
    /// chunking, Günther et al. 2024), rather than embedded one by one.
    pub late: bool,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Range in the text, in bytes.
    pub bytes: Range<usize>,
    /// Range in the text, in UTF-16 code units, as JavaScript counts.
    pub utf16: Range<usize>,
    /// Range of the text's tokens, without special tokens.
    pub tokens: Range<usize>,
}

impl Tokenizer {
    /// Splits a text into chunks, each with its tokens. White space at the ends of chunks is
    /// removed; a text of white space has no chunks. Errors name the text by its `index` in the
    /// request.
    pub fn chunks(
        &self,
        index: usize,
        text: &str,
        rules: Rules,
        chunking: Chunking,
    ) -> Result<Vec<(Chunk, Tokens)>> {
        let whole = Rules {
            limit: usize::MAX,
            ..rules
        };
        let around = self.tokens(0, &"".into(), whole)?.ids.len();
        let room = check(chunking, around, rules.limit)?;
        let places = self.places(text)?;
        let cuts = cuts(text, &places);
        let mut chunks = Vec::new();
        let mut utf16 = Utf16 { text, at: (0, 0) };
        let mut start = 0;
        while start < places.len() {
            let mut room = room;
            let (end, bytes, tokens) = loop {
                let end = end(&cuts, start, room);
                let bytes = trimmed(text, place(text, &places, start)..place(text, &places, end));
                let tokens = self.tokens(0, &(&text[bytes.clone()]).into(), whole)?;
                // A chunk may have a few more tokens when it is tokenised on its own.
                let excess = tokens.ids.len().saturating_sub(chunking.size);
                if excess == 0 || room <= excess {
                    break (end, bytes, tokens);
                }
                room -= excess;
            };
            check_fits(index, &tokens, rules.limit)?;
            if !bytes.is_empty() {
                let chunk = Chunk {
                    utf16: utf16.at(bytes.start)..utf16.at(bytes.end),
                    bytes,
                    tokens: start..end,
                };
                chunks.push((chunk, tokens));
            }
            if end == places.len() {
                break;
            }
            start = next(&cuts, start, end, chunking.overlap);
        }
        Ok(chunks)
    }

    /// The chunks of a text, and the tokens of each pass over some of them, with a span for each
    /// chunk. A pass has as many chunks as fit into the model. It begins with the last chunk of the
    /// pass before, for context only.
    pub fn late_chunks(
        &self,
        index: usize,
        text: &str,
        rules: Rules,
        chunking: Chunking,
    ) -> Result<(Vec<Chunk>, Vec<Tokens>)> {
        let chunks = self.chunks(index, text, rules, chunking)?.into_iter();
        let chunks: Vec<Chunk> = chunks.map(|(chunk, _)| chunk).collect();
        let mut passes = Vec::new();
        let mut done = 0;
        while done < chunks.len() {
            let mut first = done.saturating_sub(1);
            let fits = |chunk: &Chunk| chunk.tokens.end - chunks[first].tokens.start <= rules.limit;
            let mut end = done
                + chunks[done..]
                    .iter()
                    .take_while(|chunk| fits(chunk))
                    .count();
            end = end.max(done + 1);
            let tokens = loop {
                let base = chunks[first].bytes.start;
                let ranges: Vec<_> = chunks[done..end]
                    .iter()
                    .map(|chunk| chunk.bytes.start - base..chunk.bytes.end - base)
                    .collect();
                let pass = &text[base..chunks[end - 1].bytes.end];
                let ends = (done == 0, end == chunks.len());
                let tokens = self.spanned(pass, &ranges, rules, ends)?;
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
            passes.push(tokens);
            done = end;
        }
        Ok((chunks, passes))
    }
}

/// A text that cannot be cut may have more tokens than the model has positions.
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

/// The number of tokens that a chunk has for its own text.
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

/// How good a place between two tokens is for a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    /// In the middle of a character.
    Never,
    Anywhere,
    Word,
    Sentence,
    Paragraph,
}

/// The cut before each token, and the cut at the end of the text.
fn cuts(text: &str, places: &[(usize, usize)]) -> Vec<Cut> {
    let mut around = Around::new(text);
    let mut before = 0;
    let starts = places.iter().map(|&(start, end)| {
        let cut = if start < before || !text.is_char_boundary(start) {
            Cut::Never
        } else {
            around.go_to(start);
            around.cut()
        };
        before = before.max(end);
        cut
    });
    starts.chain([Cut::Paragraph]).collect()
}

/// The surroundings of a place in a text. The place only moves forward, so that each character is
/// read at most twice.
struct Around<'a> {
    text: &'a str,
    at: usize,
    /// The last character before the place, not counting closing quotation marks.
    last: Option<char>,
    /// The white space around or before the place: its end, its number of line feeds, and `last`
    /// before it.
    gap: Option<(usize, usize, Option<char>)>,
}

impl<'a> Around<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            last: None,
            gap: gap(text, 0, None),
        }
    }

    fn go_to(&mut self, at: usize) {
        for c in self.text[self.at..at.max(self.at)].chars() {
            self.at += c.len_utf8();
            let is_closing = matches!(
                c,
                '"' | '\'' | ')' | ']' | '»' | '”' | '’' | '」' | '』' | '）'
            );
            if !is_closing {
                self.last = Some(c);
            }
            if self.gap.is_none_or(|(end, ..)| end < self.at) {
                self.gap = gap(self.text, self.at, self.last);
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

/// The white space that begins at a place: its end, its number of line feeds, and the character
/// before it.
fn gap(text: &str, at: usize, last: Option<char>) -> Option<(usize, usize, Option<char>)> {
    let rest = &text[at..];
    let length = rest.len() - rest.trim_start().len();
    let lines = rest[..length].matches('\n').count();
    (length > 0).then_some((at + length, lines, last))
}

/// The end of a chunk that begins at token `start` and has at most `room` tokens: the last of the
/// best cuts in its second half.
fn end(cuts: &[Cut], start: usize, room: usize) -> usize {
    let all = cuts.len() - 1;
    if all - start <= room {
        return all;
    }
    let least = start + room / 2 + 1;
    let most = start + room;
    let best = (least..=most).max_by_key(|at| cuts[*at]);
    let fallback = || (start + 1..least).rev().chain(most + 1..=all);
    // If all cuts there are within a character, the chunk becomes smaller, or else larger.
    best.filter(|at| cuts[*at] > Cut::Never)
        .or_else(|| fallback().find(|at| cuts[*at] > Cut::Never))
        .unwrap_or(all)
}

/// The start of the chunk after tokens `start..end`: the first of the best cuts among the last
/// `overlap` tokens.
fn next(cuts: &[Cut], start: usize, end: usize, overlap: usize) -> usize {
    let first = (start + 1).max(end.saturating_sub(overlap));
    let best = (first..end).rev().max_by_key(|at| cuts[*at]);
    best.filter(|at| cuts[*at] > Cut::Never).unwrap_or(end)
}

/// The first byte of a token, or the end of the text.
fn place(text: &str, places: &[(usize, usize)], token: usize) -> usize {
    places.get(token).map_or(text.len(), |(start, _)| *start)
}

/// A range of bytes without white space at its ends, rounded to whole characters.
fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(range.start);
    let end = text.floor_char_boundary(range.end).max(start);
    let part = text[start..end].trim_end();
    let end = start + part.len();
    end - part.trim_start().len()..end
}

/// Counts UTF-16 code units, continuing from the last count.
struct Utf16<'a> {
    text: &'a str,
    /// Bytes, units.
    at: (usize, usize),
}

impl Utf16<'_> {
    fn at(&mut self, byte: usize) -> usize {
        let (last, units) = self.at;
        let count = |part: &str| part.encode_utf16().count();
        let units = if byte < last {
            units - count(&self.text[byte..last])
        } else {
            units + count(&self.text[last..byte])
        };
        self.at = (byte, units);
        units
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One token for each word and each punctuation mark.
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
        // The second half of ten tokens has one end of a sentence.
        let first = end(&cuts, 0, 10);
        assert_eq!(token(first), "h");
        // The start of the sentence before is among the last six tokens, but not among the last
        // three.
        assert_eq!(token(next(&cuts, 0, first, 6)), "d");
        assert_eq!(token(next(&cuts, 0, first, 3)), "f");
        assert_eq!(next(&cuts, 0, first, 0), first);
        // No sentence ends there, so that the chunk has as many words as fit.
        assert_eq!(end(&cuts, first, 4), first + 4);
        assert_eq!(end(&cuts, first, 100), places.len());
    }

    #[test]
    fn units_of_utf16_are_counted_both_ways() {
        let text = "a😀é b";
        let mut utf16 = Utf16 { text, at: (0, 0) };
        for (byte, _) in text.char_indices().chain(text.char_indices().rev()) {
            assert_eq!(utf16.at(byte), text[..byte].encode_utf16().count());
        }
    }
}
