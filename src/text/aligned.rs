//! A text that is changed step by step. The place in the original is known for each of its bytes.

use std::ops::Range;

/// A changed text.
pub struct Aligned {
    text: String,
    /// For each byte the byte range in the original; none if places are not needed.
    places: Option<Vec<(usize, usize)>>,
}

impl Aligned {
    /// A text that begins at byte `start` of the original.
    pub fn new(text: &str, start: usize, with_places: bool) -> Self {
        let places = with_places.then(|| {
            let mut places = Vec::with_capacity(text.len());
            for (at, c) in text.char_indices() {
                let place = (start + at, start + at + c.len_utf8());
                places.resize(at + c.len_utf8(), place);
            }
            places
        });
        Self {
            text: text.to_owned(),
            places,
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The byte range in the original that a range of the text comes from; none for an empty range.
    pub fn place(&self, range: Range<usize>) -> Option<(usize, usize)> {
        let places = self.places.as_ref()?.get(range)?;
        Some((places.first()?.0, places.last()?.1))
    }

    /// Replaces each character by what `change` writes.
    pub fn each(&mut self, mut change: impl FnMut(char, &mut String)) {
        let mut changed = Self {
            text: String::with_capacity(self.text.len() + 16),
            places: self
                .places
                .as_ref()
                .map(|old| Vec::with_capacity(old.len())),
        };
        for (at, c) in self.text.char_indices() {
            change(c, &mut changed.text);
            if let (Some(old), Some(new)) = (&self.places, &mut changed.places) {
                new.resize(changed.text.len(), old[at]);
            }
        }
        *self = changed;
    }

    /// Replaces all characters. Each new one comes with a change of their number: 1 if it was
    /// inserted after the one before it, -n if it stands for itself and the n old ones after it,
    /// else 0.
    pub fn transform(&mut self, characters: impl Iterator<Item = (char, isize)>) {
        let Some(old) = &self.places else {
            self.text = characters.map(|(c, _)| c).collect();
            return;
        };
        let start = old.first().map_or((0, 0), |(start, _)| (*start, *start));
        let mut replaced = self.text.chars();
        let mut at: usize = 0;
        let mut text = String::with_capacity(self.text.len());
        let mut places = Vec::with_capacity(old.len());
        for (c, change) in characters {
            let place = if change > 0 {
                at.checked_sub(1)
                    .map_or(Some(&start), |before| old.get(before))
            } else {
                old.get(at)
            };
            let place = place.or(old.last()).copied().unwrap_or_default();
            if change <= 0 {
                let gone = replaced.by_ref().take(1 + change.unsigned_abs());
                at += gone.map(char::len_utf8).sum::<usize>();
            }
            text.push(c);
            places.resize(text.len(), place);
        }
        self.text = text;
        self.places = Some(places);
    }

    /// A range of the text.
    pub fn part(&self, range: Range<usize>) -> Self {
        Self {
            text: self.text[range.clone()].to_owned(),
            places: self.places.as_ref().map(|places| places[range].to_vec()),
        }
    }

    /// Removes all but a range of the text.
    pub fn keep(&mut self, range: Range<usize>) {
        self.text.truncate(range.end);
        self.text.drain(..range.start);
        if let Some(places) = &mut self.places {
            places.truncate(range.end);
            places.drain(..range.start);
        }
    }

    /// Starts a text of pieces of this one and of other text.
    pub fn rebuilt(&self) -> Rebuilt<'_> {
        Rebuilt {
            old: self,
            new: Self {
                text: String::with_capacity(self.text.len() + 16),
                places: self
                    .places
                    .as_ref()
                    .map(|old| Vec::with_capacity(old.len())),
            },
        }
    }
}

/// A text that is being built.
pub struct Rebuilt<'a> {
    old: &'a Aligned,
    new: Aligned,
}

impl Rebuilt<'_> {
    /// Adds a range of the old text.
    pub fn take(&mut self, range: Range<usize>) {
        self.new.text.push_str(&self.old.text[range.clone()]);
        if let (Some(old), Some(new)) = (&self.old.places, &mut self.new.places) {
            new.extend_from_slice(&old[range]);
        }
    }

    /// Adds other text. Its place is that of the old text's byte `at`.
    pub fn put(&mut self, text: &str, at: usize) {
        self.new.text.push_str(text);
        if let (Some(old), Some(new)) = (&self.old.places, &mut self.new.places) {
            let place = old.get(at).or(old.last()).copied().unwrap_or_default();
            new.resize(self.new.text.len(), place);
        }
    }

    /// The number of bytes so far.
    pub fn len(&self) -> usize {
        self.new.text.len()
    }

    pub fn done(self) -> Aligned {
        self.new
    }
}
