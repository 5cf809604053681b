//! What a model's files say that it is. Rerankers, late interaction and code of a model's own are refused, unless the caller
//! insists on a kind ([`crate::model::load::loader::LoadOptions::kind`]).

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::families;
use crate::model::families::config::Config;

/// A kind of embedder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One vector a text.
    Dense,
    /// Weights of vocabulary entries.
    Sparse,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "dense" => Ok(Self::Dense),
            "sparse" => Ok(Self::Sparse),
            _ => Err(Error::input(
                "kind",
                format!("kind is {name:?}; it must be \"dense\" or \"sparse\""),
            )),
        }
    }
}

/// What the names of DeBERTa-v2's classes begin with, which has no table in `families`.
const DEBERTA: &str = "DebertaV2";

/// What names of classes end with, where the model gives states of tokens or logits of a masked-language-modelling head.
const STATES: [&str; 4] = [
    "Model",
    "ForMaskedLM",
    "ForPreTraining",
    "ForConditionalGeneration",
];

/// The class of facebookresearch/contriever: BERT with mean pooling, which is also what is assumed
/// where there is no modules.json.
const CONTRIEVER: &str = "Contriever";

/// What the files say of a transformer that is not implemented. `has_modules` is whether
/// modules.json says how states become vectors. Then a class with another head means nothing:
/// sentence-transformers leaves the head out.
pub fn foreign(config: &Config, has_modules: bool) -> Vec<String> {
    let is_own = |name: &str| {
        if name == CONTRIEVER {
            return config.get("model_type").is_some_and(|name| name == "bert");
        }
        let mut rests = families::classes()
            .chain([DEBERTA])
            .filter_map(|class| name.strip_prefix(class));
        rests.any(|rest| STATES.contains(&rest) || (has_modules && rest.starts_with("For")))
    };
    let classes = config.get("architectures").and_then(Value::as_array);
    let classes = classes.into_iter().flatten().filter_map(Value::as_str);
    let classes = classes.filter(|name| !is_own(name));
    let mut found: Vec<String> = classes
        .map(|name| format!("{name} (architectures)"))
        .collect();
    if let Some(map) = config.get("auto_map").and_then(Value::as_object) {
        let has_model = map.contains_key("AutoModel");
        for (class, place) in map {
            let counts = match class.as_str() {
                "AutoConfig" | "AutoModel" | "AutoModelForMaskedLM" => true,
                other => !has_model && other.starts_with("AutoModel"),
            };
            let known = place
                .as_str()
                .is_some_and(|place| families::has_code(config, place));
            if counts && !known {
                let place = place
                    .as_str()
                    .map_or_else(|| place.to_string(), str::to_owned);
                found.push(format!("code of its own, {place} (auto_map)"));
            }
        }
    }
    // Cross-encoders of sentence-transformers 4 and 5 have their settings there.
    if !has_modules && config.get("sentence_transformers").is_some() {
        found.push("a CrossEncoder (sentence_transformers in config.json)".to_owned());
    }
    found
}

/// What `config_sentence_transformers.json` says of a model that is not implemented.
pub fn foreign_type(config: &Config) -> Result<Option<String>> {
    let name = config.text("model_type")?;
    let name = name.filter(|name| !matches!(*name, "SentenceTransformer" | "SparseEncoder"));
    Ok(name.map(|name| format!("{name} (config_sentence_transformers.json)")))
}

/// An error about what is not implemented.
pub fn refuse(what: &[String]) -> Error {
    Error::UnsupportedModel(format!(
        "the model is {}, which is not supported: its vectors would be others than those of its authors; take an embedding model, or, to use its encoder as it is, load it with kind \"dense\" or \"sparse\"",
        what.join(" and ")
    ))
}
