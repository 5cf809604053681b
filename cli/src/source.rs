//! Where models come from: a folder, or the Hugging Face Hub by way of its cache.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use gossamer::backend::Backend;
use gossamer::{Embedder, Kind, LoadOptions, Loader, WeightDtype};
use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use indicatif::{ProgressBar, ProgressStyle};

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
    embedder.with_context(|| format!("{source} cannot be loaded"))
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
    Hub(Box<Hub>),
}

/// A repository on the Hub, in the cache that Python's `huggingface_hub` shares.
struct Hub {
    cache: CacheRepo,
    /// The repository and the names of its files; `None`: the cache has to do.
    online: Option<(ApiRepo, HashSet<String>, String)>,
}

impl Files {
    /// `sign` is the file that tells whether the cache has the model.
    fn find(source: &str, sign: &str) -> Result<Self> {
        let folder = Path::new(source);
        if folder.is_dir() {
            return Ok(Self::Folder(folder.to_owned()));
        }
        let (id, revision) = source.split_once('@').unwrap_or((source, "main"));
        let is_id = id.split('/').count() <= 2 && !id.starts_with(['.', '/']) && !id.is_empty();
        if !is_id {
            bail!("{source} is neither a folder nor a model's name on the Hub (owner/name)");
        }
        let repo = Repo::with_revision(id.to_owned(), RepoType::Model, revision.to_owned());
        let hub_cache = match variable("HF_HUB_CACHE") {
            Some(folder) => Cache::new(folder.into()),
            None => Cache::from_env(),
        };
        let cache = hub_cache.repo(repo.clone());
        if variable("HF_HUB_OFFLINE").is_some_and(|value| value != "0" && value != "false") {
            return Ok(Self::Hub(Box::new(Hub {
                cache,
                online: None,
            })));
        }
        let mut builder = ApiBuilder::from_cache(hub_cache).with_progress(false);
        if let Some(endpoint) = variable("HF_ENDPOINT") {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(token) = variable("HF_TOKEN") {
            builder = builder.with_token(Some(token));
        }
        let api = builder.build()?;
        let api = api.repo(repo);
        let online = match api.info() {
            Ok(info) => {
                let names = info.siblings.into_iter().map(|file| file.rfilename);
                Some((api, names.collect(), info.sha))
            }
            // What was loaded before needs no network.
            Err(_) if cache.get(sign).is_some() => None,
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("the Hub has no model {source} for us: check its name, the network, and HF_TOKEN if it is gated")
                });
            }
        };
        Ok(Self::Hub(Box::new(Hub { cache, online })))
    }

    /// The commit, where there are commits.
    fn revision(&self) -> Option<String> {
        match self {
            Self::Folder(_) => None,
            Self::Hub(hub) => hub.online.as_ref().map(|(_, _, commit)| commit.clone()),
        }
    }

    fn open(&self, name: &str, bar: &ProgressBar) -> io::Result<Option<impl Read + use<>>> {
        let path = match self {
            Self::Folder(folder) => Some(folder.join(name)),
            Self::Hub(hub) => match &hub.online {
                None => hub.cache.get(name),
                Some((_, names, _)) if !names.contains(name) => None,
                Some((api, ..)) => Some(api.get(name).map_err(io::Error::other)?),
            },
        };
        let file = match path.map(File::open) {
            None => return Ok(None),
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Some(file) => file?,
        };
        bar.set_length(file.metadata()?.len());
        bar.set_position(0);
        Ok(Some(bar.wrap_read(file)))
    }
}

/// A variable of the environment that is not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
