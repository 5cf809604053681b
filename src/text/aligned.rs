//! A text that is changed in several steps, with the place of each byte in the original text.

use std::ops::Range;

/// The changed text.
pub struct Aligned {
    text: String,
    /// The range in the original for each byte, or none if places are not needed.
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

    /// The range of a part of the text in the original, or none for an empty part.
    pub fn place(&self, range: Range<usize>) -> Option<(usize, usize)> {
        let places = self.places.as_ref()?.get(range)?;
        Some((places.first()?.0, places.last()?.1))
    }

    /// Replaces each character with what `change` writes.
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

    /// Replaces all characters. With each new character comes the change of length: 1 if it was
    /// inserted after the one before, -n if it replaces n + 1 characters, 0 if it replaces one.
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

    /// A copy of a range of the text.
    pub fn part(&self, range: Range<usize>) -> Self {
        Self {
            text: self.text[range.clone()].to_owned(),
            places: self.places.as_ref().map(|places| places[range].to_vec()),
        }
    }

    /// Removes everything but a range of the text.
    pub fn keep(&mut self, range: Range<usize>) {
        self.text.truncate(range.end);
        self.text.drain(..range.start);
        if let Some(places) = &mut self.places {
            places.truncate(range.end);
            places.drain(..range.start);
        }
    }

    /// Starts a text that is made of ranges of this one and of other text.
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
    /// Appends a range of the old text.
    pub fn take(&mut self, range: Range<usize>) {
        self.new.text.push_str(&self.old.text[range.clone()]);
        if let (Some(old), Some(new)) = (&self.old.places, &mut self.new.places) {
            new.extend_from_slice(&old[range]);
        }
    }

    /// Appends other text, placed at byte `at` of the old text.
    pub fn put(&mut self, text: &str, at: usize) {
        self.new.text.push_str(text);
        if let (Some(old), Some(new)) = (&self.old.places, &mut self.new.places) {
            let place = old.get(at).or(old.last()).copied().unwrap_or_default();
            new.resize(self.new.text.len(), place);
        }
    }

    /// Length so far, in bytes.
    pub fn len(&self) -> usize {
        self.new.text.len()
    }

    pub fn done(self) -> Aligned {
        self.new
    }
}
