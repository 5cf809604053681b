//! Loads models from a folder, or from the Hugging Face Hub through its cache.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use gossamer::backend::Backend;
use gossamer::{
    Adapter, Download, Embedder, Kind, Listed, LoadOptions, Loader, Pooling, WeightDtype,
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::hub::Repository;

/// The most threads that are started without being asked for.
const MOST_THREADS: usize = 256;

/// How weights are stored in memory.
#[derive(Clone, Copy, ValueEnum)]
pub enum Dtype {
    Auto,
    F32,
    F16,
    Q8,
    Q6,
    Q4,
}

impl Dtype {
    /// The format; `None` leaves it to the model's files.
    pub fn chosen(self) -> Option<WeightDtype> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(WeightDtype::F32),
            Self::F16 => Some(WeightDtype::F16),
            Self::Q8 => Some(WeightDtype::Q8),
            Self::Q6 => Some(WeightDtype::Q6),
            Self::Q4 => Some(WeightDtype::Q4),
        }
    }
}

/// The threads that `--threads` asks for, or one for each core.
pub fn threads(asked: Option<NonZeroUsize>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    asked.map_or_else(|| cores().min(MOST_THREADS), NonZeroUsize::get)
}

/// What is stated about a model: which of its files to load, and what to take instead of what they
/// say.
#[derive(Args, Clone)]
pub struct Stated {
    /// The weight file to load, by its path in the folder or repository: a GGUF file, or one to
    /// take in place of model.safetensors; for a single model
    #[arg(long, value_name = "PATH")]
    pub file: Option<String>,
    /// Which weight file to download: auto, the smallest that loses nothing; small, one in 8 bits
    /// if there is any
    #[arg(long, default_value = "auto", value_parser = Download::from_name)]
    download: Download,
    /// Load the model as this kind, "dense", "sparse", "reranker" or "late-interaction", even if
    /// its files say otherwise
    #[arg(long, value_parser = Kind::from_name)]
    kind: Option<Kind>,
    /// How the states of tokens become a vector: mean, cls, lasttoken, max, weightedmean or
    /// `mean_sqrt_len_tokens`; the results of several, with commas between them, are concatenated.
    /// By default as the model's files say
    #[arg(long, value_name = "MODE", value_delimiter = ',', value_parser = mode)]
    pooling: Option<Vec<Pooling>>,
    /// Whether vectors are scaled to length 1; by default as the model's files say
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    normalize: Option<bool>,
    /// A prompt by its name, such as `query=find: `; may be given several times. Replaces the
    /// model's prompts
    #[arg(long, value_name = "NAME=TEXT", value_parser = prompt)]
    prompt: Vec<(String, String)>,
    /// A `LoRA` adapter to merge into the weights: `ID` or `ID@REVISION` of the Hub, a folder such
    /// as ./adapter, or the name of one in the model's own folder `adapters`
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<String>,
    /// The most tokens of a text; by default as the model's files say
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
}

fn mode(name: &str) -> Result<Pooling, gossamer::Error> {
    Pooling::from_name(name)
}

fn prompt(argument: &str) -> Result<(String, String), String> {
    let pair = argument.split_once('=');
    let pair = pair.map(|(name, text)| (name.to_owned(), text.to_owned()));
    pair.ok_or_else(|| "it must be NAME=TEXT".to_owned())
}

impl Stated {
    /// Adds it to options of loading.
    pub fn add_to(&self, options: LoadOptions) -> LoadOptions {
        let prompts = Some(&self.prompt).filter(|prompts| !prompts.is_empty());
        LoadOptions {
            file: self.file.clone(),
            download: self.download,
            kind: self.kind,
            pooling: self.pooling.clone(),
            normalize: self.normalize,
            prompts: prompts.map(|prompts| prompts.iter().cloned().collect()),
            max_tokens: self.max_tokens,
            adapter: self.adapter.as_deref().map(Adapter::from),
            ..options
        }
    }
}

/// Where the files of an adapter are asked for that is in another place than the model.
const ADAPTER: &str = "@adapter";

/// Loads a model from `source`: `ID`, `ID@REVISION` or a folder. The revision in `options` is set
/// here, and the model is called `source` unless `options` name it. A bar shows the progress. What
/// is assumed because the model's files do not say it is written to the standard error, and so is
/// which weight file was chosen.
pub fn load<B: Backend>(
    backend: impl Fn() -> Result<B>,
    source: &str,
    mut options: LoadOptions,
) -> Result<Embedder<B>> {
    let files = Files::find(source, options.file.as_deref().unwrap_or("config.json"))?;
    options.revision = files.revision();
    if options.model.is_empty() {
        source.clone_into(&mut options.model);
    }
    let adapter = match &mut options.adapter {
        Some(adapter) if adapter.name.contains('/') => {
            ADAPTER.clone_into(&mut adapter.folder);
            Some(Files::find(&adapter.name, "adapter_config.json")?)
        }
        _ => None,
    };
    let open = |name: &str, bar: &ProgressBar| {
        let own = name
            .strip_prefix(ADAPTER)
            .and_then(|name| name.strip_prefix('/'));
        match (&adapter, own) {
            (Some(files), Some(name)) => files.open(name, bar),
            _ => files.open(name, bar),
        }
    };
    let mut chosen = options.choose(&files.list(options.download)?);
    let mut refused = None;
    let embedder = loop {
        let file = chosen.remove(0);
        if options.file.is_none()
            && let Some(file) = &file
        {
            eprintln!("gossamer: {source}: taking {file}");
        }
        let options = LoadOptions {
            file,
            ..options.clone()
        };
        let bar = bar(&options.model)?;
        let loader = Loader::new(backend()?, options);
        let embedder = loader.read_files(|file| open(file, &bar));
        bar.finish_and_clear();
        match embedder {
            Err(error) if !chosen.is_empty() && is_refusal(&error) => {
                refused.get_or_insert(error);
            }
            embedder => break embedder.with_context(|| format!("{source} cannot be loaded"))?,
        }
    };
    if let Some(error) = refused {
        let files = embedder.info().files.join(", ");
        eprintln!(
            "gossamer: {source}: that file cannot be used, and {files} is loaded instead: {error}"
        );
    }
    if let Some(warning) = embedder.info().warning() {
        eprintln!("gossamer: {warning}: {}", advice(embedder.info().assumed));
    }
    for files in [Some(&files), adapter.as_ref()].into_iter().flatten() {
        if let Files::Hub(repository) = files {
            repository.note();
        }
    }
    Ok(embedder)
}

/// Whether another weight file of the same model may not have this error.
fn is_refusal(error: &gossamer::Error) -> bool {
    matches!(
        error.code(),
        "unsupported_model"
            | "invalid_safetensors"
            | "invalid_gguf"
            | "invalid_onnx"
            | "missing_tensor"
            | "unexpected_tensor"
            | "wrong_shape"
            | "wrong_dtype"
    )
}

/// How to state what was assumed.
fn advice(assumed: Option<&str>) -> String {
    match assumed {
        Some("splade") | None => {
            "state it with --kind sparse, or for dense vectors --pooling mean".to_owned()
        }
        Some(mode) => format!("state it with --pooling {mode}, and --normalize if it applies"),
    }
}

/// Creates a progress bar that counts bytes.
pub fn bar(what: &str) -> Result<ProgressBar> {
    let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}";
    let bar = ProgressBar::no_length().with_message(what.to_owned());
    bar.set_style(ProgressStyle::with_template(style)?);
    Ok(bar)
}

/// A model's files.
enum Files {
    Folder(PathBuf),
    Hub(Box<Repository>),
}

impl Files {
    /// Finds the model. A place without the file `sign` does not have it.
    fn find(source: &str, sign: &str) -> Result<Self> {
        let folder = Path::new(source);
        if folder.is_dir() {
            return Ok(Self::Folder(folder.to_owned()));
        }
        Repository::find(source, sign).map(|found| Self::Hub(Box::new(found)))
    }

    /// Returns the commit; `None` for a folder.
    fn revision(&self) -> Option<String> {
        match self {
            Self::Folder(_) => None,
            Self::Hub(repository) => Some(repository.commit().to_owned()),
        }
    }

    /// Returns the files to choose the weights from. A folder is here already, so that there is a
    /// choice only if the caller asks for few bits.
    fn list(&self, download: Download) -> Result<Vec<Listed>> {
        match self {
            Self::Folder(_) if download == Download::Auto => Ok(Vec::new()),
            Self::Folder(folder) => list_folder(folder),
            Self::Hub(repository) => repository.list(),
        }
    }

    fn open(&self, name: &str, bar: &ProgressBar) -> io::Result<Option<impl Read + use<>>> {
        let file = match self {
            Self::Folder(folder) => match File::open(folder.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                file => Some(file?),
            },
            Self::Hub(repository) => repository
                .open(name, bar)
                .map_err(|error| io::Error::other(format!("{error:#}")))?,
        };
        let Some(file) = file else {
            return Ok(None);
        };
        bar.set_message(name.to_owned());
        bar.set_length(file.metadata()?.len());
        bar.set_position(0);
        Ok(Some(bar.wrap_read(file)))
    }
}

/// Lists the files of a folder and of its folder `onnx`.
pub fn list_folder(folder: &Path) -> Result<Vec<Listed>> {
    let mut files = Vec::new();
    for prefix in ["", "onnx/"] {
        let entries = match std::fs::read_dir(folder.join(prefix)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let metadata = std::fs::metadata(&path)?;
            if let (true, Some(name)) = (metadata.is_file(), path.file_name()) {
                let name = format!("{prefix}{}", name.to_string_lossy());
                files.push((name, Some(metadata.len())));
            }
        }
    }
    Ok(files)
}
