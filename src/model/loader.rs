//! Loading as a conversation: the caller asks which files are wanted, hands them over, then streams the weights.
//!
//! Where the bytes come from (Hub, folder, R2 object, …) is the caller's affair.
//!
//! 1. [`Loader::wanted`] names small files; [`Loader::provide`] takes each, or the news that there is none. Repeat
//!    until nothing is wanted: modules.json may lead to more.
//! 2. [`Loader::weights`] names the weight files. For each: [`Loader::begin`], [`Loader::push`] in any chunking,
//!    [`Loader::end`].
//! 3. [`Loader::finish`].

use std::collections::BTreeMap;

#[cfg(not(target_arch = "wasm32"))]
use super::checkpoint::Collected;
use super::checkpoint::{Finished, Reading};
use super::config::Config;
use super::embedder::{Embedder, Info, Prompts};
use super::plan::{self, Plan};
#[cfg(not(target_arch = "wasm32"))]
use super::route::{AnyEncoder, Route};
use super::route::{Body, Road};
use crate::backend::{Backend, WeightDtype};
use crate::error::{Error, Result};
use crate::model::head::SparseHead;
use crate::weights;

const PROMPTS: &str = "config_sentence_transformers.json";

/// What to load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The model's name, for answers and errors.
    pub model: String,
    /// Commit or branch, where known.
    pub revision: Option<String>,
    /// How to hold the weights.
    pub dtype: WeightDtype,
}

/// A model that is being loaded.
pub struct Loader<B: Backend> {
    backend: B,
    options: LoadOptions,
    files: Files,
    plan: Option<Plan<B>>,
    reading: Option<Reading>,
    done: usize,
}

/// The small files that are known: their bytes, or that there is none of the name.
#[derive(Default)]
pub(super) struct Files(BTreeMap<String, Option<Vec<u8>>>);

impl Files {
    /// The file's bytes, if the source has it.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name)?.as_deref()
    }

    /// The file's bytes, which the model cannot do without.
    pub fn required(&self, name: &str) -> Result<&[u8]> {
        self.bytes(name)
            .ok_or_else(|| Error::MissingFile(name.to_owned()))
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
            done: 0,
        }
    }

    /// Small files to provide next; none once all are there.
    pub fn wanted(&mut self) -> Result<Vec<String>> {
        let mut names = plan::wanted(&self.files)?;
        names.push(PROMPTS.to_owned());
        names.retain(|name| !self.files.0.contains_key(name));
        names.sort_unstable();
        names.dedup();
        if names.is_empty() && self.plan.is_none() {
            let plan = Plan::new(&self.backend, &self.files, self.options.dtype)?;
            self.plan = Some(plan);
            // The plan holds what they said; only the prompts are still to be read.
            let files = self.files.0.iter_mut();
            files
                .filter(|(name, _)| *name != PROMPTS)
                .for_each(|(_, file)| *file = None);
        }
        Ok(names)
    }

    /// Takes a small file, or the news that the source has none of this name.
    pub fn provide(&mut self, name: &str, bytes: Option<Vec<u8>>) {
        self.files.0.insert(name.to_owned(), bytes);
    }

    /// Weight files, to be streamed in this order.
    pub fn weights(&self) -> Result<Vec<String>> {
        let plan = self
            .plan
            .as_ref()
            .ok_or_else(|| misuse("weights before all wanted files"))?;
        Ok(plan.streamed.iter().map(|(_, path)| path.clone()).collect())
    }

    /// The file to look for where the source has not the weight file `name`.
    pub fn alternative(&self, name: &str) -> Option<String> {
        weights::alternative(name)
    }

    /// Starts the next weight file, by its name or that of its alternative.
    pub fn begin(&mut self, name: &str) -> Result<()> {
        let plan = self
            .plan
            .as_ref()
            .ok_or_else(|| misuse("begin before all wanted files"))?;
        match plan.streamed.get(self.done) {
            Some((file, path))
                if self.reading.is_none()
                    && (path == name
                        || weights::alternative(path).is_some_and(|path| path == name)) =>
            {
                self.reading = Some(plan.checkpoint.begin(*file, name));
                Ok(())
            }
            _ => Err(misuse(
                "weight files must be streamed one after the other, in the order given",
            )),
        }
    }

    /// Takes the next bytes of the current weight file.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        match (&mut self.plan, &mut self.reading) {
            (Some(plan), Some(reading)) => plan.checkpoint.push(&self.backend, reading, bytes),
            _ => Err(misuse("push without begin")),
        }
    }

    /// Size of the current weight file, once its header has arrived.
    pub fn size(&self) -> Option<u64> {
        self.reading.as_ref().and_then(Reading::size)
    }

    /// Ends the current weight file.
    pub fn end(&mut self) -> Result<()> {
        match (&mut self.plan, self.reading.take()) {
            (Some(plan), Some(reading)) => {
                self.done += 1;
                plan.checkpoint.end(&reading)
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
            ..
        } = finished;
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
        let config = self.files.config(PROMPTS)?;
        let prompts = config.as_ref().map(Prompts::read).transpose()?;
        let prompts = prompts.unwrap_or_default();
        let similarity = match &config {
            Some(config) => config.text("similarity_fn_name")?,
            None => None,
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
                Road::Fast => self.options.dtype,
                Road::Wide => WeightDtype::F32,
            },
            stored,
            road,
            parameters,
            instruction_template: prompts.instruction_template(plan.instruction),
            prompts,
            similarity: similarity.unwrap_or(fallback).to_owned(),
            pipeline: plan.pipeline,
            fingerprint,
        };
        Ok(Embedder::new(
            self.backend,
            weights,
            plan.routes,
            plan.default_route,
            info,
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
        loop {
            let names = self.wanted()?;
            if names.is_empty() {
                break;
            }
            for name in names {
                let read = |mut file: R| {
                    let mut bytes = Vec::new();
                    file.read_to_end(&mut bytes).map(|_| bytes)
                };
                let bytes = open(&name).and_then(|file| file.map(read).transpose());
                self.provide(&name, bytes.map_err(|error| failed(&name, error))?);
            }
        }
        let mut chunk = vec![0; 1 << 20];
        for name in self.weights()? {
            let mut found = |name: &str| open(name).map_err(|error| failed(name, error));
            let (name, mut file) = match (found(&name)?, self.alternative(&name)) {
                (Some(file), _) => (name, file),
                (None, Some(other)) => match found(&other)? {
                    Some(file) => (other, file),
                    None => return Err(Error::MissingFile(name)),
                },
                (None, None) => return Err(Error::MissingFile(name)),
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
            && let AnyEncoder::Wide { file, candle } = &mut transformer.encoder
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

fn misuse(what: &str) -> Error {
    Error::Internal(format!("the loader was called out of order: {what}"))
}
