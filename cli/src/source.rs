//! Loads models from a folder, or from the Hugging Face Hub through its cache.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gossamer::backend::Backend;
use gossamer::{Embedder, Kind, LoadOptions, Loader};
use indicatif::{ProgressBar, ProgressStyle};

use crate::hub::Repository;

/// Parses the value of `--kind`.
pub fn kind(name: &str) -> Result<Kind, gossamer::Error> {
    Kind::from_name(name)
}

/// Loads a model from `source`: `ID`, `ID@REVISION` or a folder. The revision in `options` is set
/// here, and the model is called `source` unless `options` name it. A bar shows the progress.
pub fn load<B: Backend>(backend: B, source: &str, mut options: LoadOptions) -> Result<Embedder<B>> {
    let files = Files::find(source, options.file.as_deref().unwrap_or("config.json"))?;
    options.revision = files.revision();
    if options.model.is_empty() {
        source.clone_into(&mut options.model);
    }
    let bar = bar(&options.model)?;
    let embedder = Loader::new(backend, options).read_files(|file| files.open(file, &bar));
    bar.finish_and_clear();
    let embedder = embedder.with_context(|| format!("{source} cannot be loaded"))?;
    if let Files::Hub(repository) = &files {
        repository.note();
    }
    Ok(embedder)
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
