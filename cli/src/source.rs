//! Where models come from: a folder, or the Hugging Face Hub by way of its cache.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gossamer::backend::Backend;
use gossamer::{Embedder, Kind, LoadOptions, Loader, WeightDtype};
use indicatif::{ProgressBar, ProgressStyle};

use crate::hub::Repository;

/// The value of `--kind`.
pub fn kind(name: &str) -> Result<Kind, gossamer::Error> {
    Kind::from_name(name)
}

/// Loads `ID`, `ID@REVISION` or a folder, of which only `file` where that is given; a bar shows the weights going by. `name`
/// is what answers call the model. It may be saved if it is loaded so.
pub fn load<B: Backend>(
    backend: B,
    source: &str,
    name: &str,
    dtype: Option<WeightDtype>,
    file: Option<&str>,
    kind: Option<Kind>,
    saveable: bool,
) -> Result<Embedder<B>> {
    let files = Files::find(source, file.unwrap_or("config.json"))?;
    let options = LoadOptions {
        model: name.to_owned(),
        revision: files.revision(),
        dtype,
        file: file.map(str::to_owned),
        kind,
        saveable,
    };
    let bar = bar(name)?;
    let embedder = Loader::new(backend, options).read_files(|file| files.open(file, &bar));
    bar.finish_and_clear();
    let embedder = embedder.with_context(|| format!("{source} cannot be loaded"))?;
    if let Files::Hub(repository) = &files {
        repository.note();
    }
    Ok(embedder)
}

/// A bar for bytes that go by.
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
    /// `sign` is the file that tells whether a place has the model.
    fn find(source: &str, sign: &str) -> Result<Self> {
        let folder = Path::new(source);
        if folder.is_dir() {
            return Ok(Self::Folder(folder.to_owned()));
        }
        Repository::find(source, sign).map(|found| Self::Hub(Box::new(found)))
    }

    /// The commit, where there are commits.
    fn revision(&self) -> Option<String> {
        match self {
            Self::Folder(_) => None,
            Self::Hub(repository) => Some(repository.commit().to_owned()),
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
