//! Tells from a model's files what it is. Rerankers whose head is not implemented, and models with
//! code of their own are refused, unless the caller asks for a kind (`LoadOptions::kind`).

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::families;
use crate::model::families::config::Config;
use crate::model::load::late_layout;

/// Ends of class names of models that give token states or the logits of a head for masked language
/// modelling.
const STATES: [&str; 4] = [
    "Model",
    "ForMaskedLM",
    "ForPreTraining",
    "ForConditionalGeneration",
];

/// The end of the names of classes whose models give a logit for each label.
pub const CLASSIFIER: &str = "ForSequenceClassification";
/// The end of the names of classes whose models give a logit for each next token.
pub const DECODER: &str = "ForCausalLM";

/// The model type of sentence-transformers for models that score pairs.
const CROSS_ENCODER: &str = "CrossEncoder";

/// The class of facebookresearch/contriever: BERT with mean pooling, as is assumed without
/// modules.json.
const CONTRIEVER: &str = "Contriever";

/// What the config says about the transformer that is not implemented. `has_modules` is whether
/// there is a modules.json. If so, a class with another head makes no difference:
/// sentence-transformers ignores the head. `head` is the end of the names of classes whose head is
/// used, if one is.
pub fn foreign(config: &Config, has_modules: bool, head: Option<&str>) -> Vec<String> {
    let is_own = |name: &str| {
        if name == CONTRIEVER {
            return config.get("model_type").is_some_and(|name| name == "bert");
        }
        let mut rests = families::classes().filter_map(|class| name.strip_prefix(class));
        rests.any(|rest| match head {
            Some(head) => rest == head,
            None => STATES.contains(&rest) || (has_modules && rest.starts_with("For")),
        })
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
                own if head.is_some_and(|head| own.strip_prefix("AutoModel") == Some(head)) => true,
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
    if !has_modules && head.is_none() && config.get("sentence_transformers").is_some() {
        found.push("a CrossEncoder (sentence_transformers in config.json)".to_owned());
    }
    found
}

/// Whether `config_sentence_transformers.json` says that the model scores pairs.
pub fn is_cross_encoder(config: &Config) -> Result<bool> {
    Ok(config.text("model_type")? == Some(CROSS_ENCODER))
}

/// What `config_sentence_transformers.json` says about the model that is not implemented.
pub fn foreign_type(config: &Config) -> Result<Option<String>> {
    let name = config.text("model_type")?;
    let known = ["SentenceTransformer", "SparseEncoder", CROSS_ENCODER];
    let name = name.filter(|name| !known.contains(name));
    Ok(name.map(|name| format!("{name} (config_sentence_transformers.json)")))
}

/// Whether this is what [`foreign_type`] says of a late-interaction model.
pub fn is_late_type(what: &str) -> bool {
    late_layout::MODEL_TYPES
        .iter()
        .any(|name| what.strip_prefix(name) == Some(" (config_sentence_transformers.json)"))
}

/// The error about a model that is not implemented.
pub fn refuse(what: &[String]) -> Error {
    Error::UnsupportedModel(format!(
        "the model is {}, which is not supported: its vectors would be others than those of its authors; take an embedding model, or, to use its encoder as it is, load it with kind \"dense\" or \"sparse\"{}",
        what.join(" and "),
        if what.iter().any(|what| what.contains(DECODER)) {
            "; if it is a reranker that is asked for yes or no, load it with kind \"reranker\""
        } else {
            ""
        }
    ))
}
