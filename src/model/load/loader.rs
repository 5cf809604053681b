//! Loading as a conversation: the caller asks which files are wanted, hands them over, then streams the weights.
//!
//! Where the bytes come from (Hub, folder, R2 object, …) is the caller's affair.
//!
//! 1. [`Loader::wanted`] names small files; [`Loader::provide`] takes each, or the news that there is none. Repeat
//!    until nothing is wanted: modules.json may lead to more.
//! 2. [`Loader::weights`] names the weight files that are left. For the first of them: [`Loader::begin`], [`Loader::push`] in any
//!    chunking, [`Loader::end`]; or, where the source has not that file, [`Loader::absent`], and then both from the
//!    beginning: an index of shards may be wanted, or another file.
//! 3. [`Loader::finish`].
//!
//! A GGUF file ([`LoadOptions::file`]) is a whole model: no small files are wanted, and it is the only weight file. The plan
//! is made when its header is complete.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::backend::{Backend, WeightDtype};
use crate::error::{Error, Result};
use crate::model::embedder::{Embedder, Info, Prompts};
use crate::model::families::config::Config;
#[cfg(not(target_arch = "wasm32"))]
use crate::model::load::checkpoint::Collected;
use crate::model::load::checkpoint::{Checkpoint, Finished, Reading};
use crate::model::load::kind::Kind;
use crate::model::load::pipeline;
use crate::model::load::plan::{self, PROMPTS, Plan};
use crate::model::transformer::heads::SparseHead;
#[cfg(not(target_arch = "wasm32"))]
use crate::model::transformer::route::{AnyEncoder, Route};
use crate::model::transformer::route::{Body, Road};
use crate::weights::{self, gguf};

/// Measures of sentence-transformers; models that name another one are compared by the usual one of their kind.
const SIMILARITIES: [&str; 4] = ["cosine", "dot", "euclidean", "manhattan"];

/// What to load.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The model's name, for answers and errors.
    pub model: String,
    /// Commit or branch, where known.
    pub revision: Option<String>,
    /// How to hold the weights; where it is not given, as the model was saved ([`Embedder::save`]), or else in q8.
    pub dtype: Option<WeightDtype>,
    /// The weight file to load, by its path in the model's folder: a GGUF file, which is a whole model, or the one to take in
    /// place of that folder's `model.safetensors`. That of an ONNX file in `onnx/` is the folder above.
    pub file: Option<String>,
    /// The kind of embedder that the model is to be loaded as, though its files say that it is something else that is not
    /// supported: a reranker, a model with code of its own, one with tensors that nothing uses. What is left out for it
    /// is in [`Info::left_out`]. Without modules.json it chooses the head, too: pooling, or SPLADE.
    pub kind: Option<Kind>,
    /// Whether to keep the small files, of which `tokenizer.json` may have 17 MB, for [`Embedder::save`].
    pub saveable: bool,
}

/// A model that is being loaded.
pub struct Loader<B: Backend> {
    backend: B,
    options: LoadOptions,
    files: Files,
    plan: Option<Plan<B>>,
    reading: Option<Reading>,
    /// A file that says by itself what is to be planned, until it has.
    opening: Option<gguf::Stream>,
    done: usize,
    /// What is known of the next weight file, if that it is not there.
    absent: Option<Absent>,
    /// SHA-256 of files, in hexadecimal.
    pins: BTreeMap<String, String>,
    /// Of the current weight file, if it is pinned.
    hash: Option<Sha256>,
    /// A small file that is not the pinned one.
    wrong: Option<Error>,
    /// The first bytes of the current weight file, as many as [`LFS_POINTER`] has.
    start: Vec<u8>,
}

/// The most bytes of a file that is no weight file. Those of tokenizers have up to 40 MB.
#[cfg(not(target_arch = "wasm32"))]
const LARGEST_SMALL: u64 = 512 << 20;

/// How the text begins that Git LFS keeps in place of a large file.
const LFS_POINTER: &[u8] = b"version ";

/// A weight file that the source has not.
struct Absent {
    path: String,
    /// The index of its shards, until it is known whether there is one.
    index: Option<String>,
}

/// The small files that are known: their bytes, or that there is none of the name.
#[derive(Default)]
pub(in crate::model) struct Files(BTreeMap<String, Option<Vec<u8>>>);

impl Files {
    /// The file's bytes, if the source has it.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name)?.as_deref()
    }

    /// Whether it is known what the source has of the name.
    pub fn knows(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The file's bytes, which the model cannot do without.
    pub fn required(&self, name: &str) -> Result<&[u8]> {
        self.bytes(name)
            .ok_or_else(|| Error::MissingFile(name.to_owned()))
    }

    /// Adds a file.
    pub fn insert(&mut self, name: &str, bytes: Vec<u8>) {
        self.0.insert(name.to_owned(), Some(bytes));
    }

    /// The file as a configuration, if the source has it.
    pub fn config(&self, name: &str) -> Result<Option<Config>> {
        self.bytes(name)
            .map(|bytes| Config::parse(name, bytes))
            .transpose()
    }
}

impl<B: Backend> Loader<B> {
    /// Nothing loaded yet.
    pub fn new(backend: B, options: LoadOptions) -> Self {
        Self {
            backend,
            options,
            files: Files::default(),
            plan: None,
            reading: None,
            opening: None,
            done: 0,
            absent: None,
            pins: BTreeMap::new(),
            hash: None,
            wrong: None,
            start: Vec::new(),
        }
    }

    /// Has a file be refused unless it has this SHA-256, in hexadecimal.
    pub fn pin(&mut self, file: &str, sha256: &str) -> Result<()> {
        let sha256 = sha256.to_lowercase();
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let reason =
                format!("the SHA-256 of {file} is {sha256:?}; it must be 64 hexadecimal digits");
            return Err(Error::input("sha256", reason));
        }
        self.pins.insert(file.to_owned(), sha256);
        Ok(())
    }

    fn check(&self, file: &str, hash: Sha256) -> Result<()> {
        let got = format!("{:x}", hash.finalize());
        match self.pins.get(file) {
            Some(expected) if *expected != got => Err(Error::WrongHash {
                file: file.to_owned(),
                got,
                expected: expected.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Small files to provide next; none once all are there.
    pub fn wanted(&mut self) -> Result<Vec<String>> {
        if let Some(error) = self.wrong.take() {
            return Err(error);
        }
        if self.plan.is_some() {
            return self.wanted_index();
        }
        if let Some(file) = &self.options.file {
            let is_gguf = gguf::is_gguf(file);
            if !(is_gguf || weights::is_file(file)) || !pipeline::is_folder(file) {
                let reason = format!(
                    "file is {file:?}; it must be the path of a weight file in the model's folder, such as \"model-Q8_0.gguf\" or \"model.fp16.safetensors\""
                );
                return Err(Error::input("file", reason));
            }
            if is_gguf {
                return Ok(Vec::new());
            }
        }
        let mut names = plan::wanted(&self.files)?;
        names.push(PROMPTS.to_owned());
        names.retain(|name| !self.files.0.contains_key(name));
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            let mut plan = Plan::new(
                &self.backend,
                &self.files,
                self.options.dtype,
                self.options.kind,
            )?;
            if let Some(file) = &self.options.file {
                plan.take_instead(file)?;
            }
            self.plan = Some(plan);
            // The plan holds what they said; only the prompts are still to be read.
            let saveable = self.options.saveable;
            self.files
                .0
                .retain(|name, _| name == PROMPTS || (saveable && !weights::is_file(name)));
        }
        Ok(names)
    }

    /// The index of shards, if it is to be looked for; once it is known, what follows from it.
    fn wanted_index(&mut self) -> Result<Vec<String>> {
        let (Some(plan), Some(absent)) = (&mut self.plan, &mut self.absent) else {
            return Ok(Vec::new());
        };
        let Some(index) = absent.index.take() else {
            return Ok(Vec::new());
        };
        let (file, _) = plan.streamed[self.done];
        match self.files.0.remove(&index) {
            None => {
                absent.index = Some(index.clone());
                return Ok(vec![index]);
            }
            Some(Some(bytes)) => {
                let shards = plan::shards(&index, &bytes)?;
                let mut paths: Vec<_> = shards.iter().map(|(_, path)| path.clone()).collect();
                paths.sort_unstable();
                paths.dedup();
                let paths = paths.into_iter().map(|path| (file, path));
                plan.streamed.splice(self.done..=self.done, paths);
                plan.checkpoint.cut(file, shards);
                self.absent = None;
            }
            Some(None) => {
                if let Some(other) = weights::alternative(&absent.path) {
                    plan.streamed[self.done].1 = other;
                }
            }
        }
        Ok(Vec::new())
    }

    /// Takes a small file, or the news that the source has none of this name.
    pub fn provide(&mut self, name: &str, bytes: Option<Vec<u8>>) {
        if bytes
            .as_ref()
            .is_some_and(|bytes| bytes.starts_with(LFS_POINTER))
        {
            self.wrong.get_or_insert_with(|| lfs_pointer(name));
        }
        if let Some(bytes) = bytes.as_ref().filter(|_| self.pins.contains_key(name)) {
            let checked = self.check(name, Sha256::new_with_prefix(bytes));
            self.wrong = self.wrong.take().or(checked.err());
        }
        self.files.0.insert(name.to_owned(), bytes);
    }

    /// Weight files that are left, to be streamed in this order.
    pub fn weights(&self) -> Result<Vec<String>> {
        if let (None, Some(file)) = (&self.plan, &self.options.file) {
            return Ok(vec![file.clone()]);
        }
        let plan = self
            .plan
            .as_ref()
            .ok_or_else(|| misuse("weights before all wanted files"))?;
        let left = plan.streamed.iter().skip(self.done);
        Ok(left.map(|(_, path)| path.clone()).collect())
    }

    /// Takes the news that the source has not the next weight file. The answer is the file that the model then lacks;
    /// `None`: another one may stand in for it, see [`Loader::wanted`] and [`Loader::weights`].
    pub fn absent(&mut self) -> Result<Option<String>> {
        if let (None, Some(file)) = (&self.plan, &self.options.file) {
            return Ok(Some(file.clone()));
        }
        let plan = self.plan.as_mut().filter(|_| self.reading.is_none());
        let due = plan.and_then(|plan| {
            let (file, path) = plan.streamed.get_mut(self.done)?;
            let is_part = plan.checkpoint.is_cut(*file) || plan.checkpoint.goes_on();
            Some((path, is_part))
        });
        let Some((path, is_part)) = due else {
            return Err(misuse("absent where no weight file is due"));
        };
        if let Some(absent) = &self.absent {
            return Ok(match weights::next(path) {
                Some(next) => {
                    *path = next;
                    None
                }
                None => Some(absent.path.clone()),
            });
        }
        // Nothing stands in for a shard, whatever its name: another index would be the same one. Nor for a file beside an
        // ONNX file.
        if is_part {
            return Ok(Some(path.clone()));
        }
        let other = weights::alternative(path);
        let index = weights::index(path);
        if other.is_none() && index.is_none() {
            return Ok(Some(path.clone()));
        }
        self.absent = Some(Absent {
            path: path.clone(),
            index: index.clone(),
        });
        if let (None, Some(other)) = (index, other) {
            *path = other;
        }
        Ok(None)
    }

    /// Starts the next weight file.
    pub fn begin(&mut self, name: &str) -> Result<()> {
        self.start.clear();
        if self.plan.is_none()
            && self.opening.is_none()
            && self.options.file.as_deref() == Some(name)
        {
            self.opening = Some(gguf::Stream::new(name));
            self.hash = self.pins.contains_key(name).then(Sha256::new);
            return Ok(());
        }
        let plan = self
            .plan
            .as_mut()
            .ok_or_else(|| misuse("begin before all wanted files"))?;
        match plan.streamed.get(self.done) {
            Some((file, path)) if self.reading.is_none() && path == name => {
                self.reading = Some(plan.checkpoint.begin(*file, name));
                self.absent = None;
                self.hash = self.pins.contains_key(name).then(Sha256::new);
                Ok(())
            }
            _ => Err(misuse(
                "weight files must be streamed one after the other, in the order given",
            )),
        }
    }

    /// Takes the next bytes of the current weight file.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        if self.start.len() < LFS_POINTER.len() {
            let missing = LFS_POINTER.len() - self.start.len();
            self.start.extend(bytes.iter().take(missing));
            if self.start == LFS_POINTER {
                let due = self.weights()?.into_iter().next().unwrap_or_default();
                return Err(lfs_pointer(&due));
            }
        }
        let bytes = self.open(bytes)?;
        match (&mut self.plan, &mut self.reading) {
            (Some(plan), Some(reading)) => plan.checkpoint.push(&self.backend, reading, bytes),
            _ if self.opening.is_some() => Ok(()),
            _ => Err(misuse("push without begin")),
        }
    }

    /// Gives bytes to the file that is being opened, and makes the plan when its header is complete. Answers with those
    /// that are left.
    fn open<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let Some(stream) = &mut self.opening else {
            return Ok(bytes);
        };
        let (taken, metadata) = stream.open(bytes)?;
        if let Some(metadata) = metadata
            && let Some(mut stream) = self.opening.take()
        {
            let name = metadata.file().to_owned();
            let files = crate::model::load::gguf::files(&metadata, &mut stream)?;
            drop(metadata);
            let plan = Plan::new(&self.backend, &files, self.options.dtype, self.options.kind);
            let mut plan = plan.map_err(|error| crate::model::load::gguf::explain(&name, error))?;
            let [(file, path)] = plan.streamed.as_mut_slice() else {
                return Err(Error::Internal("a GGUF file is one file".to_owned()));
            };
            self.reading = Some(Checkpoint::<B>::resume(*file, &name, stream));
            *path = name;
            self.plan = Some(plan);
            if self.options.saveable {
                self.files = files;
            }
        }
        Ok(&bytes[taken..])
    }

    /// Size of the current weight file, once its header has arrived.
    pub fn size(&self) -> Option<u64> {
        self.reading.as_ref().and_then(Reading::size)
    }

    /// Ends the current weight file.
    pub fn end(&mut self) -> Result<()> {
        if let Some(stream) = &self.opening {
            return stream.finish();
        }
        match (&mut self.plan, self.reading.take()) {
            (Some(plan), Some(reading)) => {
                let more = plan.checkpoint.end(reading)?;
                let file = plan.streamed[self.done].0;
                self.done += 1;
                let more = more.into_iter().map(|path| (file, path));
                plan.streamed.splice(self.done..self.done, more);
                let (_, path) = &plan.streamed[self.done - 1];
                match self.hash.take() {
                    Some(hash) => {
                        let path = path.clone();
                        self.check(&path, hash)
                    }
                    None => Ok(()),
                }
            }
            _ => Err(misuse("end without begin")),
        }
    }

    /// The model, once all weight files are read.
    pub fn finish(self) -> Result<Embedder<B>> {
        let Some(mut plan) = self.plan.filter(|plan| self.done == plan.streamed.len()) else {
            return Err(misuse("finish before all weight files"));
        };
        let parameters = plan.checkpoint.parameters();
        let finished = plan.checkpoint.finish()?;
        let Finished {
            weights,
            tied,
            fingerprint,
            stored,
            left_out,
            mut origin,
            ..
        } = finished;
        plan.left_out.extend(left_out);
        #[cfg(not(target_arch = "wasm32"))]
        fill(&mut plan.routes, finished.collected, &plan.streamed)?;
        for route in &mut plan.routes {
            if let Body::Transformer(transformer) = &mut route.body
                && let Some(SparseHead::Splade { mlm, .. }) = &mut transformer.sparse
                && let Some((_, stand_in)) = tied
                    .iter()
                    .find(|(replaced, _)| *replaced == mlm.decoder.weight)
            {
                mlm.decoder.weight = *stand_in;
            }
        }
        // As sentence-transformers, which reads them where there are modules.
        let config = if plan.has_modules {
            self.files.config(PROMPTS)?
        } else {
            None
        };
        let prompts = config.as_ref().map(Prompts::read).transpose()?;
        let prompts = prompts.unwrap_or_default();
        let similarity = config
            .as_ref()
            .and_then(|config| config.get("similarity_fn_name")?.as_str());
        let similarity = similarity.filter(|name| SIMILARITIES.contains(name));
        let most = |field: &str| match &config {
            Some(config) if config.get(field).is_some() => config.size(field, usize::MAX).map(Some),
            _ => Ok(None),
        };
        let default = &plan.routes[plan.default_route];
        let fallback = if default.dense().is_some() {
            "cosine"
        } else {
            "dot"
        };
        let road = default.road();
        let info = Info {
            model: self.options.model,
            revision: self.options.revision,
            family: plan.family,
            max_tokens: default.max_tokens,
            dtype: match road {
                Road::Native => plan.dtype,
                Road::Candle => WeightDtype::F32,
            },
            stored,
            files: plan.streamed.into_iter().map(|(_, path)| path).collect(),
            road,
            parameters,
            instruction_template: prompts.instruction_template(plan.instruction),
            prompts,
            similarity: similarity.unwrap_or(fallback).to_owned(),
            truncate_dim: most("truncate_dim")?,
            max_active_dims: most("max_active_dims")?,
            kind: plan
                .kind
                .filter(|_| plan.insists || !plan.left_out.is_empty()),
            left_out: plan.left_out,
            pipeline: plan.pipeline,
            fingerprint: plan.fingerprint.unwrap_or(fingerprint),
            text: plan.text,
        };
        if self.options.saveable {
            let files = self.files.0.into_iter();
            origin.files = files
                .filter_map(|(name, file)| Some((name, file?.into())))
                .collect();
        }
        Ok(Embedder::new(
            self.backend,
            weights,
            plan.routes,
            plan.default_route,
            info,
            origin,
        ))
    }

    /// Loads everything from a local folder.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_dir(self, folder: &std::path::Path) -> Result<Embedder<B>> {
        self.read_files(|name| match std::fs::File::open(folder.join(name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        })
    }

    /// Loads everything from where `open` finds the files; `None` is for one that is not there.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_files<R: std::io::Read>(
        mut self,
        mut open: impl FnMut(&str) -> std::io::Result<Option<R>>,
    ) -> Result<Embedder<B>> {
        let failed = |name: &str, error: std::io::Error| {
            Error::MissingFile(format!("{name} that can be read ({error})"))
        };
        let mut chunk = vec![0; 1 << 20];
        loop {
            for name in self.wanted()? {
                let read = |file: R| {
                    let mut bytes = Vec::new();
                    let mut file = std::io::Read::take(file, LARGEST_SMALL + 1);
                    std::io::Read::read_to_end(&mut file, &mut bytes)?;
                    if bytes.len() as u64 > LARGEST_SMALL {
                        let reason = format!("it has more than {LARGEST_SMALL} bytes");
                        return Err(std::io::Error::other(reason));
                    }
                    Ok(bytes)
                };
                let bytes = open(&name).and_then(|file| file.map(read).transpose());
                self.provide(&name, bytes.map_err(|error| failed(&name, error))?);
            }
            if !self.wanted()?.is_empty() {
                continue;
            }
            let Some(name) = self.weights()?.into_iter().next() else {
                break;
            };
            let Some(mut file) = open(&name).map_err(|error| failed(&name, error))? else {
                if let Some(missing) = self.absent()? {
                    return Err(Error::MissingFile(missing));
                }
                continue;
            };
            self.begin(&name)?;
            loop {
                match file.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(read) => self.push(&chunk[..read])?,
                    Err(error) => return Err(failed(&name, error)),
                }
            }
            self.end()?;
        }
        self.finish()
    }
}

/// Gives candle-transformers its tensors.
#[cfg(not(target_arch = "wasm32"))]
fn fill(
    routes: &mut [Route],
    collected: Vec<(usize, Collected)>,
    streamed: &[(usize, String)],
) -> Result<()> {
    let mut left = collected;
    for route in routes {
        if let Body::Transformer(transformer) = &mut route.body
            && let AnyEncoder::Candle { file, candle } = &mut transformer.encoder
        {
            let (own, others) = left.into_iter().partition(|(other, _)| other == file);
            left = others;
            let own: Vec<(usize, Collected)> = own;
            let tensors = own.into_iter().map(|(_, tensor)| tensor).collect();
            let path = streamed.iter().find(|(other, _)| other == file);
            candle.fill(path.map_or("", |(_, path)| path), tensors)?;
        }
    }
    Ok(())
}

fn lfs_pointer(file: &str) -> Error {
    Error::InvalidConfig {
        file: file.to_owned(),
        reason: "this is a Git LFS pointer, not the file itself: run `git lfs pull`".to_owned(),
    }
}

fn misuse(what: &str) -> Error {
    Error::Internal(format!("the loader was called out of order: {what}"))
}
