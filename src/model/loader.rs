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

use super::checkpoint::{Checkpoint, Reading};
use super::config::Config;
use super::embedder::{Embedder, Info, Prompts};
use super::families::{self, Family};
use super::head::{DenseHead, Head, Step};
use super::layout::{Encoder, Layout, Linear, MlmHead};
use super::pipeline::{self, Entry, Module, SparseActivation};
use super::spec::Spec;
use crate::backend::{Backend, Pooling, WeightDtype};
use crate::error::{Error, Result};
use crate::text::Tokenizer;

const MODULES: &str = "modules.json";
const PROMPTS: &str = "config_sentence_transformers.json";
/// Files of the transformer's own folder: name, and whether the model can do without.
const TRANSFORMER_FILES: [(&str, bool); 4] = [
    ("config.json", false),
    ("tokenizer.json", false),
    ("tokenizer_config.json", true),
    ("sentence_bert_config.json", true),
];
const WEIGHTS: &str = "model.safetensors";

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
    files: BTreeMap<String, Option<Vec<u8>>>,
    entries: Option<Vec<Entry>>,
    plan: Option<Plan<B>>,
    reading: Option<Reading>,
    done: usize,
}

/// Everything that the small files say.
struct Plan<B: Backend> {
    family: &'static Family,
    spec: Spec,
    tokenizer: Tokenizer,
    encoder: Encoder,
    head: PlannedHead,
    max_tokens: usize,
    prompts: Prompts,
    similarity: String,
    pipeline: String,
    weight_files: Vec<String>,
    checkpoint: Checkpoint<B>,
}

/// A head whose tied weights are not resolved yet.
enum PlannedHead {
    Dense(DenseHead),
    Splade(MlmHead, SparseActivation),
}

impl<B: Backend> Loader<B> {
    /// Nothing loaded yet.
    pub fn new(backend: B, options: LoadOptions) -> Self {
        Self {
            backend,
            options,
            files: BTreeMap::new(),
            entries: None,
            plan: None,
            reading: None,
            done: 0,
        }
    }

    /// Small files to provide next; none once all are there.
    pub fn wanted(&mut self) -> Result<Vec<String>> {
        let mut names = vec![MODULES.to_owned(), PROMPTS.to_owned()];
        names.extend(TRANSFORMER_FILES.map(|(name, _)| name.to_owned()));
        if let Some(Some(modules)) = self.files.get(MODULES) {
            let entries = pipeline::entries(modules)?;
            for (index, entry) in entries.iter().enumerate() {
                if index == 0 {
                    names.extend(TRANSFORMER_FILES.map(|(name, _)| entry.file(name)));
                } else if entry.kind != "Normalize" {
                    names.push(entry.file("config.json"));
                }
            }
            self.entries = Some(entries);
        }
        names.retain(|name| !self.files.contains_key(name));
        names.sort_unstable();
        names.dedup();
        if names.is_empty() && self.plan.is_none() {
            self.plan = Some(self.plan()?);
            // The plan holds what they said.
            self.files.values_mut().for_each(|file| *file = None);
        }
        Ok(names)
    }

    /// Takes a small file, or the news that the source has none of this name.
    pub fn provide(&mut self, name: &str, bytes: Option<Vec<u8>>) {
        self.files.insert(name.to_owned(), bytes);
    }

    /// Weight files, to be streamed in this order.
    pub fn weights(&self) -> Result<Vec<String>> {
        self.plan
            .as_ref()
            .map(|plan| plan.weight_files.clone())
            .ok_or_else(|| misuse("weights before all wanted files"))
    }

    /// Starts the next weight file.
    pub fn begin(&mut self, name: &str) -> Result<()> {
        let plan = self
            .plan
            .as_ref()
            .ok_or_else(|| misuse("begin before all wanted files"))?;
        if self.reading.is_some()
            || plan
                .weight_files
                .get(self.done)
                .is_none_or(|next| next != name)
        {
            return Err(misuse(
                "weight files must be streamed one after the other, in the order given",
            ));
        }
        self.reading = Some(plan.checkpoint.begin(self.done, name));
        Ok(())
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
        let Some(plan) = self
            .plan
            .filter(|plan| self.done == plan.weight_files.len())
        else {
            return Err(misuse("finish before all weight files"));
        };
        let parameters = plan.checkpoint.parameters();
        let (weights, tied, fingerprint) = plan.checkpoint.finish();
        let head = match plan.head {
            PlannedHead::Dense(head) => Head::Dense(head),
            PlannedHead::Splade(mut mlm, activation) => {
                if let Some((_, stand_in)) = tied
                    .iter()
                    .find(|(replaced, _)| *replaced == mlm.decoder.weight)
                {
                    mlm.decoder.weight = *stand_in;
                }
                Head::Splade { mlm, activation }
            }
        };
        let info = Info {
            model: self.options.model,
            revision: self.options.revision,
            family: plan.family.name,
            max_tokens: plan.max_tokens,
            dtype: self.options.dtype,
            parameters,
            prompts: plan.prompts,
            similarity: plan.similarity,
            pipeline: plan.pipeline,
            fingerprint,
        };
        Ok(Embedder::new(
            self.backend,
            plan.spec,
            plan.tokenizer,
            plan.encoder,
            head,
            weights,
            info,
        ))
    }

    /// Loads everything from a local folder.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_dir(mut self, folder: &std::path::Path) -> Result<Embedder<B>> {
        use std::io::{ErrorKind, Read};
        let open = |name: &str| std::fs::File::open(folder.join(name));
        let failed = |name: &str, error: std::io::Error| {
            Error::MissingFile(format!("{name} that can be read ({error})"))
        };
        loop {
            let names = self.wanted()?;
            if names.is_empty() {
                break;
            }
            for name in names {
                match std::fs::read(folder.join(&name)) {
                    Ok(bytes) => self.provide(&name, Some(bytes)),
                    Err(error) if error.kind() == ErrorKind::NotFound => self.provide(&name, None),
                    Err(error) => return Err(failed(&name, error)),
                }
            }
        }
        let mut chunk = vec![0; 1 << 20];
        for name in self.weights()? {
            let mut file = open(&name).map_err(|error| failed(&name, error))?;
            self.begin(&name)?;
            loop {
                match file
                    .read(&mut chunk)
                    .map_err(|error| failed(&name, error))?
                {
                    0 => break,
                    read => self.push(&chunk[..read])?,
                }
            }
            self.end()?;
        }
        self.finish()
    }

    fn plan(&self) -> Result<Plan<B>> {
        let transformer = self.entries.as_ref().and_then(|entries| entries.first());
        if let Some(entry) = transformer
            && !matches!(entry.kind.as_str(), "Transformer" | "MLMTransformer")
        {
            return Err(Error::UnsupportedModel(format!(
                "modules.json begins with a module of type {}, which is not supported; it must be Transformer or MLMTransformer",
                entry.kind
            )));
        }
        let path =
            |name: &str| transformer.map_or_else(|| name.to_owned(), |entry| entry.file(name));
        for (name, optional) in TRANSFORMER_FILES {
            if !optional && self.file(&path(name)).is_none() {
                return Err(Error::MissingFile(path(name)));
            }
        }
        let config = self
            .config(&path("config.json"))?
            .ok_or_else(|| Error::MissingFile(path("config.json")))?;
        let family = families::find(&config)?;
        let spec = (family.spec)(&config)?;
        let modules = self.modules(&config)?;

        let mut layout = Layout::default();
        let mut weight_files = vec![path(WEIGHTS)];
        let encoder = layout.encoder(&spec, &family.names);
        let head = match modules.as_slice() {
            [Module::Splade(activation)] => {
                PlannedHead::Splade(layout.mlm_head(&spec, family, &encoder), *activation)
            }
            modules => {
                PlannedHead::Dense(dense_head(&spec, modules, &mut layout, &mut weight_files)?)
            }
        };

        let tokenizer = self
            .file(&path("tokenizer.json"))
            .ok_or_else(|| Error::MissingFile(path("tokenizer.json")))?;
        let tokenizer = Tokenizer::new(tokenizer)?;
        if tokenizer.size() > spec.vocab_size {
            return Err(Error::InvalidTokenizer(format!(
                "it has {} entries, more than the {} rows of the model's embedding table (vocab_size in config.json); check that both belong to the same model",
                tokenizer.size(),
                spec.vocab_size
            )));
        }
        let max_tokens = self.max_tokens(&spec, &path)?;
        if max_tokens <= tokenizer.added() {
            return Err(Error::config(
                path("sentence_bert_config.json"),
                format!("the maximum of {max_tokens} tokens leaves no room for text"),
            ));
        }
        let prompts = self.config(PROMPTS)?;
        let similarity = match &prompts {
            Some(config) => config.text("similarity_fn_name")?,
            None => None,
        };
        let fallback = if matches!(head, PlannedHead::Dense(_)) {
            "cosine"
        } else {
            "dot"
        };
        Ok(Plan {
            family,
            tokenizer,
            encoder,
            max_tokens,
            similarity: similarity.unwrap_or(fallback).to_owned(),
            prompts: prompts
                .as_ref()
                .map(Prompts::read)
                .transpose()?
                .unwrap_or_default(),
            pipeline: format!("{modules:?}"),
            checkpoint: Checkpoint::new(layout, family.prefixes, self.options.dtype),
            head,
            weight_files,
            spec,
        })
    }

    /// The modules after the transformer; where there is no modules.json, what sentence-transformers assumes.
    fn modules(&self, config: &Config) -> Result<Vec<Module>> {
        let Some(entries) = &self.entries else {
            let architecture = config
                .get("architectures")
                .and_then(|list| list.get(0))
                .and_then(|name| name.as_str());
            let masked = architecture.is_some_and(|name| name.ends_with("ForMaskedLM"));
            return Ok(vec![if masked {
                Module::Splade(SparseActivation::Log1pRelu)
            } else {
                Module::Pooling {
                    modes: vec![Pooling::Mean],
                    include_prompt: true,
                }
            }]);
        };
        let after = entries.iter().skip(1);
        after
            .map(|entry| pipeline::module(entry, self.config(&entry.file("config.json"))?.as_ref()))
            .collect()
    }

    /// The model's own limit, never more than its positions.
    fn max_tokens(&self, spec: &Spec, path: &impl Fn(&str) -> String) -> Result<usize> {
        for (file, field) in [
            ("sentence_bert_config.json", "max_seq_length"),
            ("tokenizer_config.json", "model_max_length"),
        ] {
            let Some(config) = self.config(&path(file))? else {
                continue;
            };
            // "No limit" is spelt as 1e30 by transformers: such values are left to the positions.
            if config
                .get(field)
                .and_then(serde_json::Value::as_u64)
                .is_some()
            {
                return Ok(config.size(field, usize::MAX)?.min(spec.max_positions()));
            }
        }
        Ok(spec.max_positions())
    }

    fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name)?.as_deref()
    }

    fn config(&self, name: &str) -> Result<Option<Config>> {
        self.file(name)
            .map(|bytes| Config::parse(name, bytes))
            .transpose()
    }
}

/// Reads the modules of a dense model as pooling, steps and a final normalisation.
fn dense_head(
    spec: &Spec,
    modules: &[Module],
    layout: &mut Layout,
    files: &mut Vec<String>,
) -> Result<DenseHead> {
    let Some((
        Module::Pooling {
            modes,
            include_prompt,
        },
        rest,
    )) = modules.split_first()
    else {
        return Err(Error::UnsupportedModel(
            "modules.json must have a Pooling or a SpladePooling module after the transformer"
                .to_owned(),
        ));
    };
    let (normalize, rest) = match rest.split_last() {
        Some((Module::Normalize, rest)) => (true, rest),
        _ => (false, rest),
    };
    let mut dimensions = spec.hidden_size * modes.len();
    let mut steps = Vec::new();
    for module in rest {
        steps.push(match module {
            Module::Normalize => Step::Normalize,
            Module::Dense {
                path,
                shape,
                bias,
                activation,
            } => {
                if shape[1] != dimensions {
                    let reason = format!(
                        "in_features is {}; the module before gives {dimensions}",
                        shape[1]
                    );
                    return Err(Error::config(format!("{path}/config.json"), reason));
                }
                dimensions = shape[0];
                let linear: Linear = layout.linear(files.len(), "linear", *shape, *bias);
                files.push(format!("{path}/{WEIGHTS}"));
                Step::Linear(linear, *activation)
            }
            Module::Pooling { .. } | Module::Splade(_) => {
                return Err(Error::UnsupportedModel(
                    "modules.json has a second pooling module; one is supported".to_owned(),
                ));
            }
        });
    }
    Ok(DenseHead {
        pooling: modes.clone(),
        include_prompt: *include_prompt,
        steps,
        normalize,
        dimensions,
    })
}

fn misuse(what: &str) -> Error {
    Error::Internal(format!("the loader was called out of order: {what}"))
}
