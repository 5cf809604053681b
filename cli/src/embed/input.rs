//! Records of a file or of the standard input: a text each, and perhaps an id.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use indicatif::ProgressBar;
use serde_json::Value;

/// The most bytes of a record.
const MOST: u64 = 16 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How records are written in the input.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One text a line
    Lines,
    /// One JSON value a line: a string, or an object with the text in a field
    Jsonl,
    /// Comma-separated values, whose first line names the columns
    Csv,
    /// The same, separated by tabs
    Tsv,
}

impl Format {
    /// The format that a file's name tells.
    pub fn of(path: &Path) -> Self {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        match extension.to_str() {
            Some("jsonl" | "ndjson") => Self::Jsonl,
            Some("csv") => Self::Csv,
            Some("tsv") => Self::Tsv,
            _ => Self::Lines,
        }
    }
}

/// Where texts and ids are.
pub struct Fields {
    /// The field or column of the text.
    pub text: String,
    /// That of the id.
    pub id: Option<String>,
}

/// A text to embed.
pub struct Record {
    /// Its number in the input, from 0.
    pub number: u64,
    /// Its first line in the input, from 1.
    pub line: u64,
    /// What it says, or why it cannot be used.
    pub content: Result<Content, String>,
}

/// What a record says.
pub struct Content {
    pub text: String,
    pub id: Option<Value>,
}

/// The records of an input, in their order. An error ends it: the input cannot be read any further.
pub struct Records {
    number: u64,
    fields: Fields,
    reader: Reader,
}

enum Reader {
    Lines {
        input: BufReader<Box<dyn Read>>,
        line: u64,
        format: Format,
    },
    Table {
        rows: csv::Reader<Limited<Box<dyn Read>>>,
        text: usize,
        id: Option<usize>,
        left: Rc<Cell<u64>>,
    },
}

impl Records {
    /// Opens a file, or the standard input for `-`. The bar counts the bytes that are read.
    pub fn open(path: &Path, format: Format, fields: Fields, bar: &ProgressBar) -> Result<Self> {
        let input: Box<dyn Read> = if path == Path::new("-") {
            Box::new(bar.wrap_read(io::stdin()))
        } else {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            let metadata = file.metadata()?;
            if metadata.is_dir() {
                bail!("{} is a folder: name a file", path.display());
            }
            if metadata.is_file() {
                bar.set_length(metadata.len());
            }
            Box::new(bar.wrap_read(file))
        };
        Self::new(input, format, fields).with_context(|| path.display().to_string())
    }

    fn new(input: Box<dyn Read>, format: Format, fields: Fields) -> Result<Self> {
        let reader = match format {
            Format::Lines | Format::Jsonl => {
                if format == Format::Lines && fields.id.is_some() {
                    bail!("lines have no ids: leave --id out, or use JSONL or CSV");
                }
                let mut input = BufReader::new(input);
                if input.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
                    input.consume(BYTE_ORDER_MARK.len());
                }
                Reader::Lines {
                    input,
                    line: 0,
                    format,
                }
            }
            Format::Csv | Format::Tsv => table(input, format, &fields)?,
        };
        Ok(Self {
            number: 0,
            fields,
            reader,
        })
    }
}

/// Reads the line that names the columns.
fn table(input: Box<dyn Read>, format: Format, fields: &Fields) -> Result<Reader> {
    let left = Rc::new(Cell::new(MOST));
    let input = Limited {
        input,
        left: left.clone(),
    };
    let delimiter = if format == Format::Csv { b',' } else { b'\t' };
    let mut rows = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(input);
    let columns = rows.headers()?.clone();
    let column = |name: &str| {
        let listed = || {
            let names: Vec<_> = columns.iter().map(|name| format!("{name:?}")).collect();
            let names = names.join(", ");
            format!("there is no column {name:?}: the first line names {names}")
        };
        let mut found = columns.iter().enumerate();
        let at = found.find(|(_, found)| *found == name);
        at.map(|(at, _)| at).with_context(listed)
    };
    Ok(Reader::Table {
        text: column(&fields.text)?,
        id: fields.id.as_deref().map(column).transpose()?,
        rows,
        left,
    })
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        let next = match &mut self.reader {
            Reader::Lines {
                input,
                line,
                format,
            } => next_line(input, line, *format, &self.fields),
            Reader::Table {
                rows,
                text,
                id,
                left,
            } => next_row(rows, *text, *id, left),
        };
        let (line, content) = match next {
            Ok(None) => return None,
            Ok(Some(next)) => next,
            Err(error) => return Some(Err(error)),
        };
        let number = self.number;
        self.number += 1;
        Some(Ok(Record {
            number,
            line,
            content,
        }))
    }
}

type Next = Result<Option<(u64, Result<Content, String>)>>;

/// Reads a line. Empty lines of JSONL are no records.
fn next_line(input: &mut impl BufRead, at: &mut u64, format: Format, fields: &Fields) -> Next {
    loop {
        let mut line = Vec::new();
        if input.by_ref().take(MOST).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        *at += 1;
        if line.pop_if(|last| *last == b'\n').is_some() {
            line.pop_if(|last| *last == b'\r');
        } else if line.len() as u64 == MOST {
            input.skip_until(b'\n')?;
            let reason = format!("the line is longer than {} MiB", MOST >> 20);
            return Ok(Some((*at, Err(reason))));
        }
        let Ok(line) = String::from_utf8(line) else {
            return Ok(Some((*at, Err("the line is not UTF-8".to_owned()))));
        };
        if format == Format::Lines {
            let content = Content {
                text: line,
                id: None,
            };
            return Ok(Some((*at, Ok(content))));
        }
        if !line.trim().is_empty() {
            return Ok(Some((*at, parse(&line, fields))));
        }
    }
}

/// Reads the text and the id of a line of JSON.
fn parse(line: &str, fields: &Fields) -> Result<Content, String> {
    let value = serde_json::from_str(line).map_err(|error| format!("it is not JSON: {error}"))?;
    let mut object = match value {
        Value::String(text) if fields.id.is_none() => return Ok(Content { text, id: None }),
        Value::Object(object) => object,
        _ => {
            let or = if fields.id.is_none() {
                "a string or "
            } else {
                ""
            };
            return Err(format!("it is not {or}an object"));
        }
    };
    let text = match object.remove(&fields.text) {
        Some(Value::String(text)) => text,
        Some(_) => return Err(format!("its field {:?} is not a string", fields.text)),
        None => return Err(format!("it has no field {:?}", fields.text)),
    };
    let id = match &fields.id {
        None => None,
        Some(name) => match object.remove(name) {
            Some(id @ (Value::String(_) | Value::Number(_))) => Some(id),
            Some(_) => return Err(format!("its field {name:?} is not a string or a number")),
            None => return Err(format!("it has no field {name:?}")),
        },
    };
    Ok(Content { text, id })
}

fn next_row<R: Read>(
    rows: &mut csv::Reader<Limited<R>>,
    text: usize,
    id: Option<usize>,
    left: &Cell<u64>,
) -> Next {
    left.set(MOST);
    let mut row = csv::ByteRecord::new();
    let line = rows.position().line();
    match rows.read_byte_record(&mut row) {
        Ok(false) => return Ok(None),
        Ok(true) => {}
        Err(error) => match error.kind() {
            csv::ErrorKind::UnequalLengths {
                expected_len, len, ..
            } => {
                let reason = format!("it has {len} columns in place of {expected_len}");
                return Ok(Some((line, Err(reason))));
            }
            _ => return Err(error.into()),
        },
    }
    let line = row.position().map_or(line, csv::Position::line);
    let field = |at: usize| {
        let bytes = row.get(at).unwrap_or_default().to_vec();
        String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
    };
    let content = field(text).and_then(|text| {
        let id = id.map(field).transpose()?.map(Value::String);
        Ok(Content { text, id })
    });
    Ok(Some((line, content)))
}

/// A reader that gives so many bytes until `left` is set again: a quotation mark that is never
/// closed makes one record of all that follows.
struct Limited<R> {
    input: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(out)?;
        let Some(left) = self.left.get().checked_sub(read as u64) else {
            let message = format!("a row is longer than {} MiB", MOST >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        };
        self.left.set(left);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &str, format: Format, id: Option<&str>) -> Result<Vec<Record>> {
        let fields = Fields {
            text: "text".to_owned(),
            id: id.map(str::to_owned),
        };
        let input = io::Cursor::new(input.as_bytes().to_vec());
        Records::new(Box::new(input), format, fields)?.collect()
    }

    fn texts(records: &[Record]) -> Vec<(u64, Result<&str, &str>)> {
        records
            .iter()
            .map(|record| match &record.content {
                Ok(content) => (record.line, Ok(content.text.as_str())),
                Err(reason) => (record.line, Err(reason.as_str())),
            })
            .collect()
    }

    #[test]
    fn lines_end_as_any_system_writes_them() {
        let records = read("\u{feff}a\r\n\nb", Format::Lines, None).unwrap();
        assert_eq!(texts(&records), [(1, Ok("a")), (2, Ok("")), (3, Ok("b"))]);
        let error = read("a", Format::Lines, Some("id")).err().unwrap();
        assert!(error.to_string().contains("--id"), "{error}");
    }

    #[test]
    fn json_that_is_no_text_is_named_by_its_line() {
        let input = "\"a\"\n\n{\"text\": \"b\\nc\", \"x\": 1}\n[1]\n{\"text\": 1}\n{}\n{\"text\": \"\\ud800\"}";
        let records = read(input, Format::Jsonl, None).unwrap();
        let numbers: Vec<_> = records.iter().map(|record| record.number).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
        let texts = texts(&records);
        assert_eq!(texts[0], (1, Ok("a")));
        assert_eq!(texts[1], (3, Ok("b\nc")));
        assert_eq!(texts[2], (4, Err("it is not a string or an object")));
        assert_eq!(texts[3], (5, Err("its field \"text\" is not a string")));
        assert_eq!(texts[4], (6, Err("it has no field \"text\"")));
        assert!(texts[5].1.unwrap_err().starts_with("it is not JSON"));
        let input = "{\"text\": \"a\", \"id\": 7}\n{\"text\": \"a\"}\n\"a\"";
        let records = read(input, Format::Jsonl, Some("id")).unwrap();
        let id = records[0].content.as_ref().unwrap().id.clone();
        assert_eq!(id, Some(Value::from(7)));
        assert!(records[1].content.is_err() && records[2].content.is_err());
    }

    #[test]
    fn tables_have_their_columns_by_name() {
        let input = "id,text\n1,\"a,\nb\"\n2\n3,c\n";
        let records = read(input, Format::Csv, Some("id")).unwrap();
        let found = texts(&records);
        assert_eq!(found[0], (2, Ok("a,\nb")));
        assert_eq!(found[1].1, Err("it has 1 columns in place of 2"));
        assert_eq!(found[2].1, Ok("c"));
        let records = read("a\ttext\nx\ty, z\n", Format::Tsv, None).unwrap();
        assert_eq!(texts(&records), [(2, Ok("y, z"))]);
        let error = read("a,b\n", Format::Csv, None).err().unwrap().to_string();
        assert!(error.contains("\"text\"") && error.contains("\"a\", \"b\""));
    }

    #[test]
    fn long_records_are_refused_in_bounded_memory() {
        let long = "x".repeat(usize::try_from(MOST).unwrap() + 5);
        let records = read(&format!("{long}\nb"), Format::Lines, None).unwrap();
        assert_eq!(texts(&records)[0].1, Err("the line is longer than 16 MiB"));
        assert_eq!(texts(&records)[1], (2, Ok("b")));
        let open = format!("text\n\"{long}{long}");
        let error = read(&open, Format::Csv, None).err().unwrap();
        assert!(format!("{error:#}").contains("16 MiB"), "{error:#}");
    }
}
