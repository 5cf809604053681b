//! The formats of the output.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::journal::{Entries, Entry, Journal, write_values};

/// The longest header of safetensors that its readers take, in bytes.
const LONGEST_HEADER: usize = 100_000_000;
/// Bytes to which the header of an npy file is aligned.
const NPY_ALIGNMENT: usize = 64;

/// How vectors are written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Jsonl,
    /// A matrix of `NumPy`, a row for each record; dense vectors only
    Npy,
    /// Tensors: `embeddings`; or `indptr`, `indices` and `values` of a sparse matrix; or
    /// `embeddings` and `offsets` of token vectors
    Safetensors,
}

impl Format {
    /// The format that a file's name tells.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        Ok(match extension.to_str() {
            Some("jsonl" | "ndjson") => Self::Jsonl,
            Some("npy") => Self::Npy,
            Some("safetensors") => Self::Safetensors,
            _ => bail!(
                "the name {} tells no format: let it end in .jsonl, .npy or .safetensors, or state --to",
                path.display()
            ),
        })
    }
}

/// The vectors of a text.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// One
    Dense,
    /// Weights of vocabulary entries
    Sparse,
    /// One for each token, of late interaction
    Tokens,
}

/// What is written, besides the entries.
pub struct About {
    pub kind: Kind,
    /// Width of a dense vector, or of a token's.
    pub dimensions: usize,
    /// The model, its space and so on, as text.
    pub metadata: Map<String, Value>,
}

/// Writes an entry as a line of JSON, unless it was left out.
pub fn write_line(out: &mut impl Write, about: &About, entry: &Entry) -> Result<()> {
    if entry.left_out.is_some() {
        return Ok(());
    }
    let mut line = Map::new();
    line.insert("index".to_owned(), entry.number.into());
    if let Some(id) = &entry.id {
        line.insert("id".to_owned(), id.clone());
    }
    match about.kind {
        Kind::Dense => {
            line.insert("embedding".to_owned(), json!(entry.values));
        }
        Kind::Sparse => {
            line.insert("indices".to_owned(), json!(entry.indices));
            line.insert("values".to_owned(), json!(entry.values));
            if let Some(labels) = &entry.labels {
                line.insert("labels".to_owned(), json!(labels));
            }
        }
        Kind::Tokens => {
            let vectors: Vec<_> = entry.values.chunks_exact(about.dimensions).collect();
            line.insert("embeddings".to_owned(), json!(vectors));
        }
    }
    line.insert("tokens".to_owned(), entry.tokens.into());
    line.insert("truncated".to_owned(), entry.truncated.into());
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Writes all entries of a journal to a file that is not there yet. It has its name once it is
/// complete.
pub fn write(journal: &Journal, output: &Path, format: Format, about: &About) -> Result<()> {
    let written = || -> Result<()> {
        let parent = output.parent().filter(|parent| *parent != Path::new(""));
        let file = tempfile::Builder::new()
            .prefix(".gossamer-")
            .make_in(parent.unwrap_or(Path::new(".")), |path| {
                File::create_new(path)
            })?;
        let mut out = BufWriter::new(file);
        match format {
            Format::Jsonl => {
                for entry in embedded(journal)? {
                    write_line(&mut out, about, &entry?)?;
                }
            }
            Format::Npy => write_npy(&mut out, journal, about)?,
            Format::Safetensors => write_safetensors(&mut out, journal, about)?,
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(output)?;
        Ok(())
    };
    written().with_context(|| format!("{} cannot be written", output.display()))
}

/// The entries that were not left out.
fn embedded(journal: &Journal) -> Result<impl Iterator<Item = Result<Entry>> + use<>> {
    let entries: Entries = journal.entries()?;
    let is_there = |entry: &Result<Entry>| !entry.as_ref().is_ok_and(|one| one.left_out.is_some());
    Ok(entries.filter(is_there))
}

fn write_npy(out: &mut impl Write, journal: &Journal, about: &About) -> Result<()> {
    let count: u64 = embedded(journal)?.try_fold(0, |count, entry| entry.map(|_| count + 1))?;
    let dimensions = about.dimensions;
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, {dimensions}), }}");
    // The magic, the version and the length of the header take 10 bytes, its line end 1.
    let length = (10 + header.len() + 1).next_multiple_of(NPY_ALIGNMENT) - 10;
    header.extend(std::iter::repeat_n(' ', length - 1 - header.len()));
    header.push('\n');
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&u16::try_from(length)?.to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for entry in embedded(journal)? {
        write_values(out, &entry?.values)?;
    }
    Ok(())
}

/// The tensors are written one after another, so the journal is read once for each.
fn write_safetensors(out: &mut impl Write, journal: &Journal, about: &About) -> Result<()> {
    let (mut count, mut values, mut ids) = (0, 0, Vec::new());
    for entry in embedded(journal)? {
        let entry = entry?;
        count += 1;
        values += entry.values.len() as u64;
        ids.extend(entry.id);
    }
    let dimensions = about.dimensions as u64;
    let rows = values.checked_div(dimensions).unwrap_or(0);
    let records = ("records", "I64", vec![count]);
    let offsets = |name| (name, "I64", vec![count + 1]);
    let tensors = match about.kind {
        Kind::Dense => vec![records, ("embeddings", "F32", vec![count, dimensions])],
        Kind::Tokens => vec![
            records,
            offsets("offsets"),
            ("embeddings", "F32", vec![rows, dimensions]),
        ],
        Kind::Sparse => vec![
            records,
            offsets("indptr"),
            ("indices", "I32", vec![values]),
            ("values", "F32", vec![values]),
        ],
    };
    let mut metadata = about.metadata.clone();
    if !ids.is_empty() {
        metadata.insert("ids".to_owned(), serde_json::to_string(&ids)?.into());
    }
    let mut header = Map::from_iter([("__metadata__".to_owned(), Value::Object(metadata))]);
    let mut at = 0;
    for (name, dtype, shape) in &tensors {
        let bytes: u64 = if *dtype == "I64" { 8 } else { 4 };
        let end = at + bytes * shape.iter().product::<u64>();
        let tensor = json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, end] });
        header.insert((*name).to_owned(), tensor);
        at = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    ensure!(
        header.len() <= LONGEST_HEADER,
        "the ids take more than {LONGEST_HEADER} bytes, more than safetensors has room for: write JSONL"
    );
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for (name, ..) in tensors {
        let mut end = 0_i64;
        if matches!(name, "offsets" | "indptr") {
            out.write_all(&end.to_le_bytes())?;
        }
        for entry in embedded(journal)? {
            let entry = entry?;
            match name {
                "records" => out.write_all(&entry.number.cast_signed().to_le_bytes())?,
                "offsets" => {
                    end += i64::try_from(entry.values.len() / about.dimensions.max(1))?;
                    out.write_all(&end.to_le_bytes())?;
                }
                "indptr" => {
                    end += i64::try_from(entry.values.len())?;
                    out.write_all(&end.to_le_bytes())?;
                }
                "indices" => {
                    for index in &entry.indices {
                        out.write_all(&i32::try_from(*index)?.to_le_bytes())?;
                    }
                }
                _ => write_values(out, &entry.values)?,
            }
        }
    }
    Ok(())
}
