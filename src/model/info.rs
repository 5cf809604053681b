//! What is known about a loaded model besides its weights: its name, limits, prompts and how its
//! vectors compare.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::backend::WeightDtype;
use crate::error::{Error, Result};
use crate::maps::map;
use crate::model::families::config::Config;
use crate::model::kind::Kind;
use crate::model::load::lora::LoraInfo;

/// Texts that a model expects before its inputs, by name.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    /// Name → text.
    pub named: BTreeMap<String, String>,
    /// Name of the prompt that is used if the caller names none.
    pub default: Option<String>,
}

impl Prompts {
    /// Reads `config_sentence_transformers.json`.
    pub(in crate::model) fn read(config: &Config) -> Result<Self> {
        let named: BTreeMap<String, Option<String>> = match config.get("prompts") {
            None => BTreeMap::new(),
            Some(prompts) => BTreeMap::deserialize(prompts)
                .map_err(|_| config.wrong("prompts", "an object of strings"))?,
        };
        // A prompt that is null is empty.
        let named = named.into_iter();
        let named = map(named.map(|(name, text)| (name, text.unwrap_or_default())));
        let default = config.text("default_prompt_name")?;
        // In sentence-transformers every model has these two, as empty prompts unless its files
        // name them.
        let usual = |name: &&str| matches!(*name, "query" | "document");
        let unknown = default.filter(|name| !named.contains_key(*name));
        if unknown.is_some_and(|name| !usual(&name)) {
            return Err(config.wrong("default_prompt_name", "the name of one of the prompts"));
        }
        Ok(Self {
            default: default
                .filter(|name| named.contains_key(*name))
                .map(str::to_owned),
            named,
        })
    }

    pub(crate) fn find(&self, name: &str) -> Result<&str> {
        self.named
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| Error::UnknownPrompt {
                name: name.to_owned(),
                known: quoted(self.named.keys()),
            })
    }

    /// The prompt for a task, by the names that sentence-transformers tries.
    pub(in crate::model) fn for_task(&self, task: &str) -> Option<&str> {
        let names: &[&str] = match task {
            "document" => &["document", "passage", "corpus", "retrieval.passage"],
            "query" => &["query", "retrieval.query"],
            other => &[other],
        };
        let mut prompts = names.iter().filter_map(|name| self.named.get(*name));
        prompts.next().map(String::as_str)
    }

    /// The form of instructions, with `{}` for the instruction. A prompt of the form "Instruct:
    /// …\nQuery:" defines it, or else the model's family does.
    pub(in crate::model) fn instruction_template(&self, family: Option<&str>) -> Option<String> {
        let own = self.named.values().find_map(|prompt| {
            let (_, end) = prompt.strip_prefix("Instruct: ")?.split_once("\nQuery:")?;
            Some(format!("Instruct: {{}}\nQuery:{end}"))
        });
        own.or_else(|| family.map(str::to_owned))
    }
}

pub(in crate::model) fn quoted<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<_> = names.map(|name| format!("{name:?}")).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

impl Info {
    /// What was assumed for lack of a modules.json, as a sentence without a full stop.
    pub fn warning(&self) -> Option<String> {
        let model = &self.model;
        Some(match self.assumed? {
            "splade" => format!(
                "{model} has no modules.json; it is taken for a SPLADE model, because its architecture has a head for masked language modelling"
            ),
            mode => format!(
                "{model} has no modules.json; its vectors are pooled by {mode}, as sentence-transformers assumes"
            ),
        })
    }
}

/// How matrices are quantised in a model's files, and what became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Library and bits, `"MLX, 4 bits"` or `"GGUF, Q8_0"`; several are separated by semicolons.
    pub layout: String,
    /// What became of the codes.
    pub outcome: Outcome,
}

/// What became of the codes in a model's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The model holds the codes of the files: they are in our own grid, or those of a static
    /// table.
    Kept,
    /// The codes were decoded, and quantised to the model's dtype.
    Requantized,
    /// The codes were decoded to floating point.
    Widened,
}

impl Outcome {
    /// The name in `info`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Requantized => "requantized",
            Self::Widened => "widened",
        }
    }
}

/// What is known about a loaded model.
#[derive(Clone, Debug)]
pub struct Info {
    /// Name that the caller gave it.
    pub model: String,
    /// Commit or branch, where known.
    pub revision: Option<String>,
    /// Model family of the default route.
    pub family: &'static str,
    /// The most tokens of one input, special tokens included.
    pub max_tokens: usize,
    /// Format of the weights in memory.
    pub dtype: WeightDtype,
    /// How matrices are quantised in the model's files, if they are, and what became of them.
    pub stored: Option<Stored>,
    /// The weight files that were loaded.
    pub files: Vec<String>,
    /// Parameters that the model uses.
    pub parameters: usize,
    /// Prompts from the model's own files.
    pub prompts: Prompts,
    /// The text before an input, with `{}` for the instruction, if the model takes instructions.
    pub instruction_template: Option<String>,
    /// The measure for comparing its vectors: `cosine`, `dot`, `euclidean` or `manhattan`; for late
    /// interaction `maxsim` or `meanmaxsim`.
    pub similarity: String,
    /// The kind that the caller insisted on, if the model's files say something else.
    pub kind: Option<Kind>,
    /// The `LoRA` adapter that is merged into the weights.
    pub lora: Option<LoraInfo>,
    /// What is ignored because the caller insisted on a kind: classes, code, tensors.
    pub left_out: Vec<String>,
    /// The head that was assumed because the model has no modules.json and the caller stated none:
    /// the name of a pooling mode, or `splade`.
    pub assumed: Option<&'static str>,
    /// What the model's own files state otherwise than the options of loading, by the name of the
    /// option.
    pub overridden: Vec<(&'static str, serde_json::Value)>,
    /// Dimensions of dense vectors unless the caller asks for others, if the model's files say so.
    pub(in crate::model) truncate_dim: Option<usize>,
    /// The most entries of a sparse vector unless the caller asks for others, if the model's files
    /// say so.
    pub(in crate::model) max_active_dims: Option<usize>,
    /// The steps after the transformer, as text for the space id.
    pub(in crate::model) pipeline: String,
    /// Hash of all weights.
    pub(in crate::model) fingerprint: u64,
    /// Hash of the tokenizers.
    pub(in crate::model) text: u64,
}
