//! What the files of a reranker say of its head: labels, what makes scores of logits, and which tensors.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::families::Family;
use crate::model::families::config::Config;
use crate::model::load::layout_builder::LayoutBuilder;
use crate::model::transformer::classifier::{Classifier, ScoreActivation};
use crate::model::transformer::spec::Spec;
use crate::text::Tokenizer;

/// The most labels of a head.
const MOST_LABELS: usize = 1 << 16;

/// Lays out the head. `sentence` is `config_sentence_transformers.json`, where the model has modules.
pub(super) fn classifier(
    layout: &mut LayoutBuilder,
    (file, family, spec): (usize, &Family, &Spec),
    config: &Config,
    sentence: Option<&Config>,
) -> Result<Classifier> {
    let names = family.classifier.as_ref().ok_or_else(|| {
        Error::UnsupportedModel(format!(
            "the family {} has no head for sequence classification here",
            family.name
        ))
    })?;
    let labels = labels(config)?;
    let pooling = (names.pooling)(config)?;
    let scores = activation(config, sentence, labels.len())?;
    let (dense, norm, output) = layout.classifier(file, spec, names, labels.len());
    Ok(Classifier {
        pooling,
        dense,
        activation: names.activation,
        norm: norm.map(|norm| (norm, spec.norm, spec.norm_eps)),
        output,
        labels,
        scores,
    })
}

/// Names of the labels; transformers' where the config does not name them.
fn labels(config: &Config) -> Result<Vec<String>> {
    let Some(named) = config.get("id2label") else {
        let count = config.size_or("num_labels", 2, MOST_LABELS)?;
        return Ok((0..count).map(|label| format!("LABEL_{label}")).collect());
    };
    let wrong = || {
        config.wrong(
            "id2label",
            "an object of labels by their numbers, from 0 on",
        )
    };
    let named = named.as_object().ok_or_else(wrong)?;
    if !(1..=MOST_LABELS).contains(&named.len()) {
        return Err(wrong());
    }
    let name = |label: usize| {
        let name = named.get(&label.to_string())?;
        // transformers takes any value for a name.
        Some(
            name.as_str()
                .map_or_else(|| name.to_string(), str::to_owned),
        )
    };
    let all = (0..named.len()).map(name).collect::<Option<_>>();
    all.ok_or_else(wrong)
}

/// What makes scores of logits: as sentence-transformers 6 saves it, as 4 and 5 did, as older versions did, or else its
/// default.
fn activation(
    config: &Config,
    sentence: Option<&Config>,
    labels: usize,
) -> Result<ScoreActivation> {
    let of_file = |file: &Config, field: &str| -> Result<Option<ScoreActivation>> {
        let Some(path) = file.text(field)? else {
            return Ok(None);
        };
        let name = path
            .strip_prefix("torch.")
            .and_then(|path| path.rsplit('.').next());
        match name {
            Some("Identity") => Ok(Some(ScoreActivation::Identity)),
            Some("Sigmoid") => Ok(Some(ScoreActivation::Sigmoid)),
            _ => Err(file.wrong(field, "Identity or Sigmoid of torch")),
        }
    };
    if let Some(found) = sentence
        .map(|file| of_file(file, "activation_fn"))
        .transpose()?
        && found.is_some()
    {
        return Ok(found.unwrap_or(ScoreActivation::Identity));
    }
    let found = match config
        .get("sentence_transformers")
        .and_then(Value::as_object)
    {
        Some(fields) if fields.contains_key("activation_fn") => of_file(
            &config.inner("sentence_transformers", fields.clone()),
            "activation_fn",
        )?,
        _ => of_file(config, "sbert_ce_default_activation_function")?,
    };
    Ok(found.unwrap_or(if labels == 1 {
        ScoreActivation::Sigmoid
    } else {
        ScoreActivation::Identity
    }))
}

/// Refuses a tokenizer that makes no pairs, or pairs that the model does not take. The answer is how many special tokens a
/// pair has.
pub(super) fn check_pairs(tokenizer: &Tokenizer, spec: &Spec) -> Result<usize> {
    let (added, last) = tokenizer.pair_added()?;
    match spec.token_types {
        Some(types) if last as usize >= types => Err(Error::InvalidTokenizer(format!(
            "it gives the second text of a pair the token type {last}, and the model has {types} (type_vocab_size in config.json); check that both belong to the same model"
        ))),
        _ => Ok(added),
    }
}
