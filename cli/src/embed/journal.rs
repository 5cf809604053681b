//! What has been embedded so far, in a file beside the output: a command that was killed goes on
//! from there.
//!
//! An entry is three lengths (u32, little endian): of its JSON in bytes, of its indices and of its
//! values; and then these, 4 bytes for an index or a value. The first entry has the settings. An
//! entry that was cut off is the last one, and is written again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A record that was embedded, or was left out.
#[derive(Default, Deserialize, Serialize)]
pub struct Entry {
    /// The record's number in the input.
    pub number: u64,
    /// Hash of its text and id: to see that the input is the same.
    pub digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub tokens: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub truncated: bool,
    /// Why it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// Indices of a sparse vector.
    #[serde(skip)]
    pub indices: Vec<u32>,
    /// The numbers of a dense vector, of a sparse one, or of the vectors of all tokens.
    #[serde(skip)]
    pub values: Vec<f32>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A journal that is being written. No other process writes it.
pub struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Journal {
    /// Creates it, or opens it and returns the entries that it has. Errors if these have other
    /// settings.
    pub fn open(path: PathBuf, settings: &Map<String, Value>) -> Result<(Self, Option<Entries>)> {
        let found = || path.display().to_string();
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false);
        let mut file = open.open(&path).with_context(found)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => bail!("{}: another process writes it", found()),
            locked => locked.with_context(found)?,
        }
        let mut entries = Entries::new(File::open(&path)?)?;
        let old = entries.settings.take();
        if let Some(old) = &old {
            check(old, settings).with_context(|| {
                let path = path.display();
                format!("{path} is of a command that was cut off: repeat that one, or remove it")
            })?;
            let end = entries.complete()?;
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
        } else {
            file.set_len(0)?;
        }
        let mut journal = Self {
            path,
            file: BufWriter::new(file),
        };
        if old.is_none() {
            journal.put(&serde_json::to_vec(settings)?, &[], &[])?;
            return Ok((journal, None));
        }
        let entries = Entries::new(File::open(&journal.path)?)?;
        Ok((journal, Some(entries)))
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: &Entry) -> Result<()> {
        self.put(&serde_json::to_vec(entry)?, &entry.indices, &entry.values)
    }

    fn put(&mut self, json: &[u8], indices: &[u32], values: &[f32]) -> Result<()> {
        let file = &mut self.file;
        let mut write = || {
            for length in [json.len(), indices.len(), values.len()] {
                let length = u32::try_from(length).map_err(io::Error::other)?;
                file.write_all(&length.to_le_bytes())?;
            }
            file.write_all(json)?;
            for index in indices {
                file.write_all(&index.to_le_bytes())?;
            }
            write_values(file, values)
        };
        write().with_context(|| self.path.display().to_string())
    }

    /// Hands everything to the system, which writes it even if this process is killed.
    pub fn flush(&mut self) -> Result<()> {
        let flushed = self.file.flush();
        flushed.with_context(|| self.path.display().to_string())
    }

    /// The entries, from the first one on.
    pub fn entries(&self) -> Result<Entries> {
        Entries::new(File::open(&self.path)?)
    }

    /// Removes it.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).with_context(|| self.path.display().to_string())
    }
}

/// Writes numbers, little endian.
pub fn write_values(out: &mut impl Write, values: &[f32]) -> io::Result<()> {
    values
        .iter()
        .try_for_each(|value| out.write_all(&value.to_le_bytes()))
}

/// Errors if two commands have different settings.
fn check(old: &Map<String, Value>, new: &Map<String, Value>) -> Result<()> {
    let names = old.keys().chain(new.keys());
    for name in names {
        let (old, new) = (old.get(name), new.get(name));
        let show = |value: Option<&Value>| value.map_or("none".to_owned(), Value::to_string);
        ensure!(old == new, "{name} was {}, and is {}", show(old), show(new));
    }
    Ok(())
}

/// The JSON, the indices and the values of an entry.
type Raw = (Vec<u8>, Vec<u32>, Vec<f32>);

/// The complete entries of a journal.
pub struct Entries {
    file: BufReader<File>,
    /// The bytes of the file.
    size: u64,
    /// Where the next entry begins.
    at: u64,
    settings: Option<Map<String, Value>>,
}

impl Entries {
    fn new(file: File) -> Result<Self> {
        let size = file.metadata()?.len();
        let mut entries = Self {
            file: BufReader::new(file),
            size,
            at: 0,
            settings: None,
        };
        if let Some((json, ..)) = entries.read()? {
            let settings = serde_json::from_slice(&json);
            entries.settings = Some(settings.context("it is not a file of gossamer embed")?);
        }
        Ok(entries)
    }

    /// Reads all of them, and returns where the last one ends.
    fn complete(mut self) -> Result<u64> {
        while self.read()?.is_some() {}
        Ok(self.at)
    }

    fn read(&mut self) -> Result<Option<Raw>> {
        let left = self.size - self.at;
        if left < 12 {
            return Ok(None);
        }
        let mut lengths = [0; 12];
        self.file.read_exact(&mut lengths)?;
        let lengths = lengths.as_chunks::<4>().0;
        let [json, indices, values] =
            [0, 1, 2].map(|at| u64::from(u32::from_le_bytes(lengths[at])));
        let length = 12 + json + 4 * (indices + values);
        if length > left {
            return Ok(None);
        }
        let mut bytes = |length: u64| -> Result<Vec<u8>> {
            let mut bytes = vec![0; usize::try_from(length)?];
            self.file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        let json = bytes(json)?;
        let numbers = |bytes: Vec<u8>| bytes.as_chunks::<4>().0.to_vec();
        let indices = numbers(bytes(4 * indices)?).into_iter();
        let values = numbers(bytes(4 * values)?).into_iter();
        self.at += length;
        Ok(Some((
            json,
            indices.map(u32::from_le_bytes).collect(),
            values.map(f32::from_le_bytes).collect(),
        )))
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        let entry = self.read().transpose()?;
        Some(entry.and_then(|(json, indices, values)| {
            Ok(Entry {
                indices,
                values,
                ..serde_json::from_slice(&json)?
            })
        }))
    }
}

/// The path of the journal of an output.
pub fn path_of(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(model: &str) -> Map<String, Value> {
        Map::from_iter([("model".to_owned(), Value::from(model))])
    }

    fn entry(number: u16) -> Entry {
        Entry {
            number: u64::from(number),
            digest: "ab".to_owned(),
            id: Some(Value::from(number)),
            indices: vec![u32::from(number); 2],
            values: vec![f32::from(number), 0.5],
            ..Entry::default()
        }
    }

    fn numbers(entries: Option<Entries>) -> Vec<u64> {
        let entries = entries.into_iter().flatten();
        entries.map(|entry| entry.unwrap().number).collect()
    }

    #[test]
    fn wherever_it_was_cut_off_the_complete_entries_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.part");
        let (mut journal, old) = Journal::open(path.clone(), &settings("a")).unwrap();
        assert!(old.is_none());
        journal.flush().unwrap();
        let mut ends = vec![std::fs::metadata(&path).unwrap().len()];
        for number in 0..3 {
            journal.push(&entry(number)).unwrap();
            journal.flush().unwrap();
            ends.push(std::fs::metadata(&path).unwrap().len());
        }
        let third = journal.entries().unwrap().nth(2).unwrap().unwrap();
        assert_eq!((third.indices, third.values), (vec![2, 2], vec![2.0, 0.5]));
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let complete = ends.iter().filter(|end| **end <= cut as u64).count();
            let (mut journal, old) = Journal::open(path.clone(), &settings("a")).unwrap();
            assert_eq!(old.is_some(), complete > 0);
            let expected: Vec<u64> = (0..complete.saturating_sub(1) as u64).collect();
            assert_eq!(numbers(old), expected, "cut at {cut}");
            journal.push(&entry(9)).unwrap();
            journal.flush().unwrap();
            let expected: Vec<u64> = expected.into_iter().chain([9]).collect();
            assert_eq!(numbers(Some(journal.entries().unwrap())), expected);
        }
    }

    #[test]
    fn other_settings_files_and_processes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.part");
        let (mut journal, _) = Journal::open(path.clone(), &settings("a")).unwrap();
        journal.flush().unwrap();
        let error = |model| {
            let error = Journal::open(path.clone(), &settings(model)).err().unwrap();
            format!("{error:#}")
        };
        assert!(error("a").contains("another process"));
        drop(journal);
        let other = error("b");
        assert!(other.contains("model was \"a\", and is \"b\""), "{other}");
        std::fs::write(&path, [[1, 0, 0, 0], [0; 4], [0; 4], [b'x'; 4]].concat()).unwrap();
        assert!(error("a").contains("not a file of gossamer"));
    }
}
