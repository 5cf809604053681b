//! What the files of a reranker say of its head: labels, what makes scores of logits, and which
//! tensors; and of the question that a decoder is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::backend::Pooling;
use crate::error::{Error, Result};
use crate::full::{self, Full};
use crate::model::families::config::Config;
use crate::model::families::{Family, Judge};
use crate::model::load::chat_template;
use crate::model::load::files::{CHAT_TEMPLATE, Files, TOKENIZER_CONFIG};
use crate::model::load::layout_builder::LayoutBuilder;
use crate::model::load::pipeline::ModuleEntry;
use crate::model::load::sentence::Sentence;
use crate::model::transformer::classifier::{Classifier, ScoreActivation};
use crate::model::transformer::heads::{DenseHead, Step};
use crate::model::transformer::layout::{Encoder, Linear};
use crate::model::transformer::spec::Spec;
use crate::text::Tokenizer;
use crate::text::question::{Part, Piece, Question};

/// What the common build lacks, for its error.
const DECODERS: &str = "rerankers that are decoders";

/// The most labels of a head.
const MOST_LABELS: usize = 1 << 16;

/// Lays out the head for sequence classification. `sentence` is
/// `config_sentence_transformers.json`, where the model has modules.
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
    let scores = activation(config, sentence, labels.len() == 1)?;
    let steps = layout.classifier(file, spec, names, (labels.len(), pooling));
    Ok(of(pooling, steps, labels, scores))
}

/// A reranker whose score is the last of the modules after pooling.
pub(super) fn chain(
    head: DenseHead,
    config: &Config,
    sentence: Option<&Config>,
) -> Result<Classifier> {
    let labels = numbered(head.dimensions);
    Ok(Classifier {
        scores: activation(config, sentence, labels.len() == 1)?,
        head,
        labels,
    })
}

/// A decoder whose score is the logit of the next token `yes`, less that of `no`.
pub(super) fn decoder(
    layout: &mut LayoutBuilder,
    (file, spec, encoder): (usize, &Spec, &Encoder),
    (yes, no): (u32, Option<u32>),
    config: &Config,
    scores: ScoreActivation,
) -> Result<Classifier> {
    if let Some(token) = [Some(yes), no]
        .into_iter()
        .flatten()
        .find(|token| *token as usize >= spec.vocab_size)
    {
        let reason = format!(
            "vocab_size is {}, and the score is that of the token {token} (true_token_id, false_token_id)",
            spec.vocab_size
        );
        return Err(Error::config(config.name(), reason));
    }
    let tied = config.flag("tie_word_embeddings", false)?;
    let table = layout.next_token(file, spec, tied.then_some(encoder.word_embeddings));
    let mut rows = vec![(yes as usize, 1.0)];
    rows.extend(no.map(|no| (no as usize, -1.0)));
    let output: Linear = layout.picked(table, rows);
    let steps = vec![Step::Linear(output, crate::backend::Activation::Identity)];
    Ok(of(Pooling::LastToken, steps, numbered(1), scores))
}

fn of(
    pooling: Pooling,
    steps: Vec<Step>,
    labels: Vec<String>,
    scores: ScoreActivation,
) -> Classifier {
    let head = DenseHead {
        pooling: vec![pooling],
        include_prompt: true,
        steps,
        integers: false,
        normalize: false,
        dimensions: labels.len(),
    };
    Classifier {
        head,
        labels,
        scores,
    }
}

/// transformers' names of labels that have none.
fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|label| format!("LABEL_{label}")).collect()
}

/// Names of the labels; transformers' where the config does not name them.
fn labels(config: &Config) -> Result<Vec<String>> {
    let Some(named) = config.get("id2label") else {
        let count = config.size_or("num_labels", 2, MOST_LABELS)?;
        return Ok(numbered(count));
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

/// What makes scores of logits: as sentence-transformers 6 saves it, as 4 and 5 did, as older
/// versions did, or else what is usual: a sigmoid for one label.
pub(super) fn activation(
    config: &Config,
    sentence: Option<&Config>,
    sigmoid: bool,
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
    Ok(found.unwrap_or(if sigmoid {
        ScoreActivation::Sigmoid
    } else {
        ScoreActivation::Identity
    }))
}

/// The chat template of a module, if it has one: a file of its own, or a field of the tokenizer's
/// settings.
fn template(files: &Files, entry: &ModuleEntry) -> Result<Option<String>> {
    let path = entry.file(CHAT_TEMPLATE);
    if let Some(bytes) = files.bytes(&path) {
        let text = std::str::from_utf8(bytes);
        let text = text.map_err(|_| Error::config(&path, "is no UTF-8; download it again"))?;
        return Ok(Some(text.replace("\r\n", "\n")));
    }
    let Some(config) = files.config(&entry.file(TOKENIZER_CONFIG))? else {
        return Ok(None);
    };
    let text = match config.get("chat_template") {
        Some(Value::Array(list)) => list
            .iter()
            .find(|one| one["name"] == "default")
            .map(|one| &one["template"]),
        one => one,
    };
    Ok(text.and_then(Value::as_str).map(str::to_owned))
}

/// What a chat template makes of a query and a document. An error says why it makes nothing of
/// them.
fn read(
    template: &str,
    files: &Files,
    entry: &ModuleEntry,
    sentence: &Sentence,
) -> Result<std::result::Result<Full<Arc<Question>>, String>> {
    full::need(DECODERS)?;
    let mut values = BTreeMap::new();
    values.insert(
        "add_generation_prompt".to_owned(),
        chat_template::Value::Flag(false),
    );
    if let Some(config) = files.config(&entry.file(TOKENIZER_CONFIG))? {
        for (name, value) in config.into_fields() {
            let text = value.as_str().or_else(|| value["content"].as_str());
            if let Some(text) = text.filter(|_| name.ends_with("_token")) {
                values.insert(name, chat_template::Value::text(text));
            }
        }
    }
    for (name, value) in &sentence.template_values {
        let value = match value {
            Value::Bool(flag) => chat_template::Value::Flag(*flag),
            Value::String(text) => chat_template::Value::text(text),
            Value::Null => chat_template::Value::None,
            _ => {
                let reason =
                    format!("chat_template sets {name} to {value}; it must be a flag or a string");
                return Err(Error::config(
                    entry.file(crate::model::load::sentence::NAMES[0]),
                    reason,
                ));
            }
        };
        values.insert(name.clone(), value);
    }
    let render = |places: &[Part]| -> std::result::Result<Piece, String> {
        let piece = chat_template::render(template, &values, places)?;
        match places.iter().find(|place| !piece.contains(place)) {
            Some(Part::Query) => Err("no place for the role \"query\"".to_owned()),
            Some(Part::Document) => Err("no place for the role \"document\"".to_owned()),
            Some(_) => Err("no place for the role \"system\"".to_owned()),
            None => Ok(piece),
        }
    };
    let plain = render(&[Part::Query, Part::Document]);
    let prompted = render(&[Part::Prompt, Part::Query, Part::Document]);
    let plain = match plain {
        Ok(plain) => plain,
        Err(reason) => return Ok(Err(reason)),
    };
    let question = Full::new(DECODERS, || {
        Arc::new(Question {
            plain: vec![plain],
            prompted: prompted.ok().map(|piece| vec![piece]),
            restored: true,
        })
    });
    question.map(Ok)
}

/// What pairs of texts are put in.
pub(super) enum Asked {
    /// Nothing: they are one after the other, as the tokenizer has it.
    Pair,
    /// A question of the model's chat template.
    Template(Full<Arc<Question>>),
    /// The question of the family's authors, since the caller insists on a reranker.
    Judge(&'static Judge, Full<Arc<Question>>),
}

impl Asked {
    /// What the files say. `insists` is whether the caller asked for a reranker, and there is no
    /// modules.json.
    pub fn read(
        files: &Files,
        entry: &ModuleEntry,
        sentence: &Sentence,
        (family, insists, has_modules, is_decoder): (&Family, bool, bool, bool),
    ) -> Result<Self> {
        let template = template(files, entry)?;
        let has_messages = if has_modules {
            sentence.messages
        } else {
            template.is_some()
        };
        let reason = match template {
            Some(template) if has_messages => {
                match self::read(&template, files, entry, sentence)? {
                    Ok(question) => return Ok(Self::Template(question)),
                    Err(reason) => format!(
                        "its chat template has {reason}, and nothing that is supported puts a query and a document into it"
                    ),
                }
            }
            None if has_messages => {
                "it puts texts into a chat template (modality_config), and has none".to_owned()
            }
            _ if insists && is_decoder => "it has no chat template".to_owned(),
            _ => return Ok(Self::Pair),
        };
        match family.judge {
            Some(judge) if insists => {
                let question = || Arc::new(Question::marked(judge.question, judge.prompted));
                Ok(Self::Judge(judge, Full::new(DECODERS, question)?))
            }
            Some(_) if !has_modules => Err(Error::UnsupportedModel(format!(
                "the model cannot be used as a reranker: {reason}; load it with kind \"reranker\" to ask it as the rerankers of the family {} are asked by their authors",
                family.name
            ))),
            _ => Err(Error::UnsupportedModel(format!(
                "the model cannot be used as a reranker: {reason}"
            ))),
        }
    }

    /// The question, if there is one.
    pub fn question(self) -> Option<Full<Arc<Question>>> {
        match self {
            Self::Pair => None,
            Self::Template(question) | Self::Judge(_, question) => Some(question),
        }
    }

    /// The tokens for yes and for no, where the files do not say which.
    pub fn answers(&self) -> [&'static str; 2] {
        match self {
            Self::Judge(judge, _) => judge.answers,
            Self::Pair | Self::Template(_) => ["yes", "no"],
        }
    }

    /// Whether scores are probabilities unless the files say otherwise.
    pub fn sigmoid(&self) -> bool {
        match self {
            Self::Judge(judge, _) => judge.sigmoid,
            Self::Pair | Self::Template(_) => true,
        }
    }
}

/// Whether a model without modules.json has a chat template that is made for a query and a
/// document: it says so by these roles, and by nothing else.
pub(super) fn asks(files: &Files, entry: &ModuleEntry) -> Result<bool> {
    let Some(template) = template(files, entry)? else {
        return Ok(false);
    };
    let names = |role: &str| {
        ['\'', '"']
            .iter()
            .any(|quote| template.contains(&format!("{quote}{role}{quote}")))
    };
    let sentence = Sentence::default();
    Ok(names("query") && names("document") && read(&template, files, entry, &sentence)?.is_ok())
}

/// Refuses a tokenizer that makes no pairs, or pairs that the model does not take. The answer is
/// how many tokens a pair of empty texts has.
pub(super) fn check_pairs(tokenizer: &Tokenizer, spec: &Spec) -> Result<usize> {
    if let Some(question) = tokenizer.question() {
        return tokenizer.question_tokens(question);
    }
    let (added, last) = tokenizer.pair_added()?;
    match spec.token_types {
        Some(types) if last as usize >= types => Err(Error::InvalidTokenizer(format!(
            "it gives the second text of a pair the token type {last}, and the model has {types} (type_vocab_size in config.json); check that both belong to the same model"
        ))),
        _ => Ok(added),
    }
}
