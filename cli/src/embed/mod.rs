//! `gossamer embed`: embeds the records of a file.

mod input;
mod journal;
mod output;

use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use gossamer::{Cpu, Embedder, Input, LoadOptions, MultiOptions, Threads};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use self::input::{Content, Fields, Record, Records};
use self::journal::{Entries, Entry, Journal};
use self::output::About;
use crate::source;

/// The most records that are embedded together. They are divided into passes of similar lengths.
const BATCH: usize = 256;
/// The most bytes of the texts of a batch, but for its last one.
const BATCH_BYTES: usize = 1 << 20;

/// The arguments of `gossamer embed`.
#[derive(Args)]
pub struct Options {
    /// ID or ID@REVISION on the Hugging Face Hub, or a folder
    #[arg(value_name = "ID|DIR")]
    model: String,
    /// Texts; without any, those of --input
    #[arg(value_name = "TEXT", conflicts_with = "input")]
    texts: Vec<String>,
    /// The file to read; - is the standard input
    #[arg(long, short, default_value = "-", value_name = "FILE")]
    input: PathBuf,
    /// How the input is written; by default as the ending of its name says, or else in lines
    #[arg(long, value_enum, value_name = "FORMAT")]
    from: Option<input::Format>,
    /// The field or column of the text
    #[arg(long, default_value = "text", value_name = "NAME")]
    text: String,
    /// The field or column of an id, which is written beside the vector
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// What becomes of records that cannot be embedded
    #[arg(long, value_enum, default_value = "stop")]
    on_error: OnError,
    /// The file to write, which must not be there; by default the standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How vectors are written; by default as the ending of the output's name says, or else in
    /// JSONL
    #[arg(long, value_enum, value_name = "FORMAT")]
    to: Option<output::Format>,
    /// Which vectors, of a model that gives several kinds; by default those of the model's kind
    #[arg(long, value_enum, value_name = "KIND")]
    vectors: Option<output::Kind>,
    /// What the texts are for: query, document, or another task of the model
    #[arg(long)]
    task: Option<String>,
    /// The name of one of the model's prompts
    #[arg(long, value_name = "NAME")]
    prompt_name: Option<String>,
    /// The numbers of a dense vector; by default all of the model
    #[arg(long, value_name = "N")]
    dimensions: Option<u64>,
    /// The most entries of a sparse vector
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Write the tokens of sparse vectors too
    #[arg(long)]
    labels: bool,
    #[command(flatten)]
    stated: source::Stated,
    /// How weights are stored in memory; auto: as `gossamer quantize` wrote them, else q8
    #[arg(long, value_enum, default_value = "auto")]
    dtype: source::Dtype,
    /// Threads, 1 to 256; by default one per core
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnError {
    /// End with an error that names the line
    Stop,
    /// Report the line, leave the record out and go on
    Skip,
}

/// Embeds.
pub fn run(options: &Options) -> Result<()> {
    let format = match (&options.to, &options.output) {
        (Some(format), _) => *format,
        (None, Some(output)) => output::Format::of(output)?,
        (None, None) => output::Format::Jsonl,
    };
    check(options, format)?;
    let threads = Threads::new(source::threads(options.threads))?;
    let load = options.stated.add_to(LoadOptions {
        dtype: options.dtype.chosen(),
        ..LoadOptions::default()
    });
    let cpu = || Ok(Cpu::with(threads.clone()));
    let embedder = source::load(cpu, &options.model, load)?;
    let work = Work::new(options, &embedder)?;
    ensure!(
        format != output::Format::Npy || work.about.kind == output::Kind::Dense,
        "npy has room for dense vectors only: write safetensors or JSONL"
    );
    let bar = progress()?;
    let started = Instant::now();
    let records = records(options, &bar)?;
    let done = match &options.output {
        None => {
            let mut out = BufWriter::new(io::stdout().lock());
            work.embed(records, None, &bar, |entries| {
                for entry in entries {
                    output::write_line(&mut out, &work.about, entry)?;
                }
                Ok(out.flush()?)
            })?
        }
        Some(path) => {
            let settings = work.settings(format);
            let (mut journal, old) = Journal::open(journal::path_of(path), &settings)?;
            let done = work.embed(records, old, &bar, |entries| {
                for entry in entries {
                    journal.push(entry)?;
                }
                journal.flush()
            });
            let done = done.inspect_err(|_| bar.abandon())?;
            output::write(&journal, path, format, &work.about)?;
            journal.remove()?;
            done
        }
    };
    bar.finish_and_clear();
    done.report(started.elapsed().as_secs_f64());
    Ok(())
}

/// Errors if the options contradict each other, before a model is loaded.
fn check(options: &Options, format: output::Format) -> Result<()> {
    let Some(path) = &options.output else {
        ensure!(
            format == output::Format::Jsonl,
            "the standard output takes JSONL only: name a file with --output"
        );
        return Ok(());
    };
    if std::fs::symlink_metadata(path).is_ok() {
        bail!(
            "{} is there already: name a file that is not",
            path.display()
        );
    }
    if format == output::Format::Npy {
        ensure!(
            options.id.is_none(),
            "npy has no room for ids: leave --id out, or write safetensors or JSONL"
        );
        ensure!(
            options.on_error == OnError::Stop,
            "npy has a row for each record, so that none can be left out: write safetensors or JSONL"
        );
    }
    Ok(())
}

/// The records of the arguments, or of the input.
fn records(
    options: &Options,
    bar: &ProgressBar,
) -> Result<Box<dyn Iterator<Item = Result<Record>>>> {
    if options.texts.is_empty() {
        let fields = Fields {
            text: options.text.clone(),
            id: options.id.clone(),
        };
        let path = &options.input;
        let format = options.from.unwrap_or_else(|| input::Format::of(path));
        return Ok(Box::new(Records::open(path, format, fields, bar)?));
    }
    ensure!(
        options.id.is_none(),
        "arguments have no ids: leave --id out"
    );
    let texts = options.texts.clone().into_iter().enumerate();
    Ok(Box::new(texts.map(|(at, text)| {
        Ok(Record {
            number: at as u64,
            line: at as u64 + 1,
            content: Ok(Content { text, id: None }),
        })
    })))
}

fn progress() -> Result<ProgressBar> {
    let bar = ProgressBar::no_length();
    let style = "{msg} {wide_bar} {bytes}/{total_bytes} {eta}";
    bar.set_style(ProgressStyle::with_template(style)?);
    Ok(bar)
}

/// What was done.
#[derive(Default)]
struct Done {
    /// Records of an earlier command with the same output.
    earlier: u64,
    embedded: u64,
    left_out: u64,
    tokens: u64,
}

impl Done {
    fn report(&self, seconds: f64) {
        let Self {
            earlier,
            embedded,
            left_out,
            tokens,
        } = self;
        #[expect(clippy::cast_precision_loss, reason = "it is for readers")]
        let rate = *embedded as f64 / seconds.max(1e-9);
        eprintln!(
            "gossamer: {embedded} texts of {tokens} tokens in {seconds:.1} s, {rate:.0} texts a second"
        );
        if *earlier > 0 {
            eprintln!("gossamer: {earlier} records were done by an earlier command");
        }
        if *left_out > 0 {
            eprintln!("gossamer: {left_out} records were left out");
        }
    }
}

/// A model, and what is wanted of it.
struct Work<'a> {
    options: &'a Options,
    embedder: &'a Embedder<Cpu>,
    about: About,
}

impl<'a> Work<'a> {
    fn new(options: &'a Options, embedder: &'a Embedder<Cpu>) -> Result<Self> {
        let name = |kind: output::Kind| {
            kind.to_possible_value()
                .map(|value| value.get_name().to_owned())
        };
        let kinds = embedder.outputs();
        let own = match embedder.kind() {
            "late-interaction" => "tokens",
            kind => kind,
        };
        let wanted = options.vectors.and_then(name);
        let wanted = wanted.as_deref().unwrap_or(own);
        let kind = output::Kind::from_str(wanted, false).ok();
        let kind = kind.filter(|_| kinds.contains(&wanted)).with_context(|| {
            let kinds = if kinds.is_empty() {
                "no vectors".to_owned()
            } else {
                kinds.join(", ")
            };
            format!("{} gives {kinds}: it cannot give {wanted}", options.model)
        })?;
        for (option, is_given, needed) in [
            (
                "--dimensions",
                options.dimensions.is_some(),
                output::Kind::Dense,
            ),
            ("--top-k", options.top_k.is_some(), output::Kind::Sparse),
            ("--labels", options.labels, output::Kind::Sparse),
        ] {
            ensure!(
                !is_given || kind == needed,
                "{option} is not for {wanted} vectors: leave it out"
            );
        }
        let mut metadata = Map::new();
        for (name, value) in [
            ("format", "gossamer.embeddings".to_owned()),
            ("kind", wanted.to_owned()),
            ("model", options.model.clone()),
            ("spaceId", embedder.space_id()),
            ("similarity", embedder.info().similarity.clone()),
        ] {
            metadata.insert(name.to_owned(), value.into());
        }
        if kind == output::Kind::Sparse && wanted == own {
            let vocabulary = embedder.dimensions().to_string();
            metadata.insert("dimensions".to_owned(), vocabulary.into());
        }
        if let Some(task) = &options.task {
            metadata.insert("task".to_owned(), task.clone().into());
        }
        let dimensions = match (options.dimensions, kind) {
            (Some(dimensions), _) => usize::try_from(dimensions)?,
            (None, output::Kind::Tokens) => {
                let tokens = MultiOptions {
                    tokens: true,
                    task: options.task.clone(),
                    ..MultiOptions::default()
                };
                let output = embedder.encode_multi(vec![Input::Text(String::new())], &tokens)?;
                let vectors = output.token_vectors.unwrap_or_default();
                vectors.first().map_or(0, |vectors| vectors.dimensions)
            }
            (None, _) => embedder.dimensions(),
        };
        let about = About {
            kind,
            dimensions,
            metadata,
        };
        Ok(Self {
            options,
            embedder,
            about,
        })
    }

    /// What a command that goes on must have in common with the one that was cut off.
    fn settings(&self, format: output::Format) -> Map<String, Value> {
        let options = self.options;
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or(Value::Null, |value| value.get_name().into())
        };
        let mut settings = self.about.metadata.clone();
        for (option, value) in [
            ("--to", name(format.to_possible_value())),
            ("--on-error", name(options.on_error.to_possible_value())),
            ("--text", options.text.clone().into()),
            ("--id", options.id.clone().into()),
            ("--prompt-name", options.prompt_name.clone().into()),
            ("--dimensions", options.dimensions.into()),
            ("--top-k", options.top_k.into()),
            ("--labels", options.labels.into()),
        ] {
            settings.insert(option.to_owned(), value);
        }
        settings
    }

    /// Embeds records in batches, and passes each batch to `keep`. Those that `old` has are read,
    /// compared with it, and passed over.
    fn embed(
        &self,
        records: impl Iterator<Item = Result<Record>>,
        mut old: Option<Entries>,
        bar: &ProgressBar,
        mut keep: impl FnMut(&[Entry]) -> Result<()>,
    ) -> Result<Done> {
        let mut done = Done::default();
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut flush = |batch: &mut Vec<Record>, done: &mut Done| {
            let entries = self.entries(std::mem::take(batch))?;
            keep(&entries)?;
            for entry in &entries {
                done.tokens += u64::from(entry.tokens);
                if let Some(reason) = &entry.left_out {
                    bar.suspend(|| eprintln!("gossamer: {reason}"));
                    done.left_out += 1;
                } else {
                    done.embedded += 1;
                }
            }
            let count = done.earlier + done.embedded + done.left_out;
            bar.set_message(format!("{count} records"));
            anyhow::Ok(())
        };
        for record in records {
            let record = record?;
            if let Some(entry) = old.as_mut().and_then(Iterator::next) {
                let entry = entry?;
                ensure!(
                    entry.number == record.number && entry.digest == digest(&record),
                    "line {} is not what the command that was cut off has read: \
                     repeat it with the same input, or remove its file",
                    record.line
                );
                done.earlier += 1;
                continue;
            }
            bytes += record
                .content
                .as_ref()
                .map_or(0, |content| content.text.len());
            batch.push(record);
            if batch.len() == BATCH || bytes >= BATCH_BYTES {
                flush(&mut batch, &mut done)?;
                bytes = 0;
            }
        }
        ensure!(
            old.is_none_or(|mut old| old.next().is_none()),
            "the input ends before what the command that was cut off has read: \
             repeat it with the same input, or remove its file"
        );
        flush(&mut batch, &mut done)?;
        Ok(done)
    }

    /// Embeds a batch. A record that cannot be embedded ends the command, or is an entry that says
    /// why.
    fn entries(&self, records: Vec<Record>) -> Result<Vec<Entry>> {
        let contents = records
            .iter()
            .filter_map(|record| record.content.as_ref().ok());
        let texts: Vec<_> = contents.map(|content| content.text.clone()).collect();
        let mut vectors = self.vectors_of_each(&texts).into_iter();
        let entry = |record: Record| {
            let (number, digest) = (record.number, digest(&record));
            let embedded = record.content.and_then(|content| {
                let vector = vectors.next().expect("a result for each text");
                let vector = vector.map_err(|error| error.to_string())?;
                Ok(Entry {
                    id: content.id,
                    ..vector
                })
            });
            let entry = match embedded {
                Ok(entry) => entry,
                Err(reason) => Entry {
                    left_out: Some(self.refuse(record.line, &reason)?),
                    ..Entry::default()
                },
            };
            Ok(Entry {
                number,
                digest,
                ..entry
            })
        };
        records.into_iter().map(entry).collect()
    }

    /// Says why a record is left out; an error if none may be.
    fn refuse(&self, line: u64, reason: &str) -> Result<String> {
        let input = &self.options.input;
        let place = if input == Path::new("-") {
            format!("line {line}: {reason}")
        } else {
            format!("{}, line {line}: {reason}", input.display())
        };
        match self.options.on_error {
            OnError::Skip => Ok(place),
            OnError::Stop => bail!("{place}; --on-error skip leaves such records out"),
        }
    }

    /// The vectors of each text. If they cannot be embedded together, one of them is to blame, and
    /// each is embedded by itself.
    fn vectors_of_each(&self, texts: &[String]) -> Vec<gossamer::Result<Entry>> {
        match self.vectors(texts) {
            Ok(vectors) => vectors.into_iter().map(Ok).collect(),
            Err(error) if texts.len() == 1 => vec![Err(error)],
            Err(_) => texts
                .chunks(1)
                .flat_map(|text| self.vectors_of_each(text))
                .collect(),
        }
    }

    /// The vectors of texts, as entries that have nothing of their records yet.
    fn vectors(&self, texts: &[String]) -> gossamer::Result<Vec<Entry>> {
        let (options, about) = (self.options, &self.about);
        let wanted = MultiOptions {
            dense: about.kind == output::Kind::Dense,
            sparse: about.kind == output::Kind::Sparse,
            tokens: about.kind == output::Kind::Tokens,
            dimensions: options.dimensions,
            top_k: options.top_k,
            labels: options.labels,
            task: options.task.clone(),
            prompt_name: options.prompt_name.clone(),
            ..MultiOptions::default()
        };
        let inputs = texts.iter().cloned().map(Input::Text).collect();
        let output = self.embedder.encode_multi(inputs, &wanted)?;
        let sizes = output.tokens.into_iter().zip(output.truncated);
        let mut entries: Vec<_> = sizes
            .map(|(tokens, truncated)| Entry {
                tokens,
                truncated,
                ..Entry::default()
            })
            .collect();
        let dense = output.dense.unwrap_or_default();
        let dense = dense.chunks_exact(output.dimensions.max(1));
        for (entry, values) in entries.iter_mut().zip(dense) {
            entry.values = values.to_vec();
        }
        for (entry, sparse) in entries.iter_mut().zip(output.sparse.unwrap_or_default()) {
            entry.indices = sparse.indices;
            entry.values = sparse.values;
            entry.labels = sparse.labels;
        }
        let tokens = output.token_vectors.unwrap_or_default();
        for (entry, tokens) in entries.iter_mut().zip(tokens) {
            entry.values = tokens.data;
        }
        Ok(entries)
    }
}

/// Hash of what a record says.
fn digest(record: &Record) -> String {
    let mut hash = Sha256::new();
    match &record.content {
        Ok(Content { text, id }) => {
            hash.update(text);
            hash.update([0xff]);
            hash.update(id.as_ref().map_or(String::new(), Value::to_string));
        }
        Err(reason) => {
            hash.update([0xfe]);
            hash.update(reason);
        }
    }
    let hash: String = format!("{:x}", hash.finalize());
    hash[..16].to_owned()
}
