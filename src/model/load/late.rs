//! Late-interaction models in three layouts: Stanford's (a projection in the encoder's file, and
//! `artifact.metadata`), `PyLate`'s, and that of sentence-transformers' `MultiVectorEncoder`.

use serde_json::Value;

use crate::backend::Activation;
use crate::error::{Error, Result};
use crate::model::families::config::Config;
use crate::model::load::files::{CONFIG, Files, METADATA, MODEL_SETTINGS};
use crate::model::load::heads;
use crate::model::load::late_layout::{LateLayout, STANFORD};
use crate::model::load::layout_builder::LayoutBuilder;
use crate::model::load::pipeline::{self, Module, ModuleEntry};
use crate::model::load::sentence;
use crate::model::run::outputs::Measure;
use crate::model::transformer::heads::{Step, TokenProjection};
use crate::model::transformer::late::{Expansion, Late, Side};
use crate::model::transformer::layout::Precision;
use crate::model::transformer::spec::Spec;
use crate::text::Tokenizer;

/// Python's `string.punctuation`.
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
/// The longest text, in tokens.
const LONGEST: usize = 1 << 24;
/// The width of Stanford's projection if the metadata do not say it.
const WIDTH: usize = 128;

/// The modules of a model after its transformer.
pub struct LateModules {
    layout: LateLayout,
    /// Dense and Normalize.
    modules: Vec<Module>,
    /// The settings of a `MultiVectorMask`.
    mask: Option<Config>,
}

impl LateModules {
    /// Reads the modules after the transformer.
    pub fn read(layout: LateLayout, files: &Files, rest: Option<&[ModuleEntry]>) -> Result<Self> {
        let (mut modules, mut mask) = (Vec::new(), None);
        for entry in rest.unwrap_or_default() {
            let config = files.config(&entry.file(CONFIG))?;
            match (entry.kind.as_str(), config) {
                ("MultiVectorMask", Some(config))
                    if mask.is_none() && layout == LateLayout::MultiVector =>
                {
                    config.only("keep_only_token_ids", &[Value::Array(Vec::new())])?;
                    mask = Some(config);
                }
                ("Dense" | "Normalize", config) => {
                    modules.push(pipeline::token_module(entry, config.as_ref())?);
                }
                (other, _) => return Err(pipeline::unsupported(other)),
            }
        }
        let is_dense = |module: &Module| *module != Module::Normalize;
        if layout == LateLayout::PyLate && !modules.iter().any(is_dense) {
            return Err(Error::UnsupportedModel(
                "modules.json lists no Dense module after the transformer, so that the projection of a ColBERT is missing".to_owned(),
            ));
        }
        Ok(Self {
            layout,
            modules,
            mask,
        })
    }
}

/// The transformer that a projection follows.
pub struct Encoder<'a> {
    /// Index of its weight file.
    pub file: usize,
    /// Its family.
    pub family: &'static str,
    /// What it computes.
    pub spec: &'a Spec,
    /// Its module.
    pub entry: &'a ModuleEntry,
    /// Whether sentence-transformers' own files want texts in lower case.
    pub lowercase: bool,
}

impl LateModules {
    /// The modules.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// The projection of token states. `limit` is the most tokens of a text that the tokenizer and
    /// the transformer take.
    pub fn projection(
        &self,
        layout: &mut LayoutBuilder,
        files: &Files,
        encoder: &Encoder,
        tokenizer: &Tokenizer,
        limit: usize,
    ) -> Result<TokenProjection> {
        let rules = Reader {
            files,
            tokenizer,
            limit,
            most: limit.min(encoder.spec.max_positions),
        };
        layout.late(encoder.file);
        let late = match self.layout {
            LateLayout::Stanford => {
                let metadata = metadata(files, encoder)?;
                let late = rules.stanford(&metadata)?;
                let width = metadata.size_or("dim", WIDTH, 1 << 16)?;
                let shape = [width, encoder.spec.output_size()];
                let linear = layout.linear(encoder.file, "linear", shape, false, Precision::Full);
                check(&late, encoder, tokenizer)?;
                return Ok(TokenProjection {
                    steps: vec![Step::Linear(linear, Activation::Identity)],
                    normalize: true,
                    dimensions: width,
                    late: Some(late),
                });
            }
            LateLayout::PyLate => rules.pylate(encoder)?,
            LateLayout::MultiVector => rules.multi_vector(encoder.entry, self.mask.as_ref())?,
        };
        check(&late, encoder, tokenizer)?;
        // PyLate's projection takes the place of Stanford's in the same checkpoint.
        layout.ignore(encoder.file, "linear.weight");
        let (rest, normalize) = match self.modules.split_last() {
            Some((Module::Normalize, rest)) => (rest, true),
            _ => (&self.modules[..], self.layout == LateLayout::PyLate),
        };
        let (steps, dimensions) = heads::steps(layout, encoder.spec.output_size(), rest)?;
        Ok(TokenProjection {
            steps,
            normalize,
            dimensions,
            late: Some(late),
        })
    }
}

/// The metadata of Stanford's checkpoints.
fn metadata(files: &Files, encoder: &Encoder) -> Result<Config> {
    // Stanford's code fills queries up with masks in place of the padding, and gives no types of
    // tokens.
    if !matches!(encoder.family, "bert" | "electra" | "xlm_roberta_flash") {
        return Err(Error::UnsupportedModel(format!(
            "the model is a checkpoint of Stanford's ColBERT over {}, and only those over BERT, ELECTRA and Jina's XLM-RoBERTa are supported; save it with PyLate",
            encoder.family
        )));
    }
    let path = encoder.entry.file(METADATA);
    let metadata = files.config(&path)?.ok_or_else(|| {
        let reason = format!(
            "is not there, and config.json names the class {STANFORD}: it says which tokens mark queries and documents, and how long they are; take it from the model's authors"
        );
        Error::config(&path, reason)
    })?;
    metadata.only("similarity", &["cosine".into()])?;
    metadata.only("interaction", &["colbert".into()])?;
    Ok(metadata)
}

/// Refuses lengths that leave no room for text, and expansion tokens that would attend to nothing:
/// libraries disagree on what their states are.
fn check(late: &Late, encoder: &Encoder, tokenizer: &Tokenizer) -> Result<()> {
    for (name, side) in [("queries", &late.query), ("documents", &late.document)] {
        let added = tokenizer.added() + usize::from(side.marker.is_some());
        if side.limit <= added {
            let reason = format!(
                "the length of {name}, {} tokens, leaves no room for text",
                side.limit
            );
            return Err(Error::config(encoder.entry.file(CONFIG), reason));
        }
    }
    let least = tokenizer.added() + usize::from(late.query.marker.is_some());
    let reach = late.query.reach(least);
    let windows = encoder.spec.layers.iter();
    match windows.filter_map(|layer| layer.mask.before).min() {
        Some(window) if window < reach => Err(Error::UnsupportedModel(format!(
            "the model fills queries up with as many as {reach} tokens that attend to the query alone, and its layers attend to {window} tokens before: the last ones would attend to nothing, which libraries compute in different ways"
        ))),
        _ => Ok(()),
    }
}

/// Reads how texts become tokens.
struct Reader<'a> {
    files: &'a Files,
    tokenizer: &'a Tokenizer,
    /// The most tokens by the tokenizer's files.
    limit: usize,
    /// The most tokens that the transformer takes, too.
    most: usize,
}

impl Reader<'_> {
    fn stanford(&self, metadata: &Config) -> Result<Late> {
        let length = metadata.size_or("query_maxlen", 32, LONGEST)?;
        let attended = metadata.flag("attend_to_mask_tokens", false)?;
        let marker = |field, usual| {
            let name = metadata.text(field)?.unwrap_or(usual);
            self.marker(metadata, field, name)
        };
        let punctuation = if metadata.flag("mask_punctuation", true)? {
            self.first_tokens(&punctuation())?
        } else {
            Vec::new()
        };
        Ok(Late {
            query: self.query(
                length,
                marker("query_token_id", "[unused0]")?,
                Some(self.expansion(length, attended)?),
                metadata,
            )?,
            document: Side {
                limit: metadata.size_or("doc_maxlen", 220, LONGEST)?.min(self.most),
                marker: marker("doc_token_id", "[unused1]")?,
                skipped: punctuation,
                expansion: None,
            },
            strips: false,
            lowercases: false,
            prompts: false,
            measure: Measure::Sum,
        })
    }

    fn pylate(&self, encoder: &Encoder) -> Result<Late> {
        let settings = self.settings()?;
        let length = settings.size_or("query_length", 32, LONGEST)?;
        let expansion = if settings.flag("do_query_expansion", true)? {
            let attended = settings.flag("attend_to_expansion_tokens", false)?;
            Some(self.expansion(length, attended)?)
        } else {
            None
        };
        let marker = |field, usual| {
            let name = settings.text(field)?.unwrap_or(usual);
            self.marker(&settings, field, name)
        };
        let words = match settings.get("skiplist_words") {
            None => punctuation(),
            Some(_) => words(&settings, "skiplist_words")?,
        };
        Ok(Late {
            query: self.query(
                length,
                marker("query_prefix", "[Q] ")?,
                expansion,
                &settings,
            )?,
            document: Side {
                limit: settings
                    .size_or("document_length", 180, LONGEST)?
                    .min(self.most),
                marker: marker("document_prefix", "[D] ")?,
                skipped: self.skipped(&words, true)?,
                expansion: None,
            },
            strips: true,
            lowercases: encoder.lowercase,
            prompts: false,
            measure: Measure::Sum,
        })
    }

    fn multi_vector(&self, entry: &ModuleEntry, mask: Option<&Config>) -> Result<Late> {
        let settings = self.settings()?;
        // The loader of sentence-transformers takes these for PyLate's.
        for field in [
            "query_prefix",
            "document_prefix",
            "skiplist_words",
            "do_query_expansion",
        ] {
            settings.only(field, &[])?;
        }
        let mut names = sentence::NAMES.iter().map(|name| entry.file(name));
        let name = names.find(|name| self.files.bytes(name).is_some());
        let empty = || Config::parse(sentence::NAMES[0], b"{}");
        let transformer = match name {
            Some(name) => self.files.config(&name)?.map_or_else(empty, Ok)?,
            None => empty()?,
        };
        let length = |field| -> Result<Option<usize>> {
            let length = transformer.get(field);
            length.map(|_| transformer.size(field, LONGEST)).transpose()
        };
        let query_length = length("query_length")?;
        let (expansion, limit) = match transformer.get("query_expansion") {
            None => (None, query_length),
            Some(Value::Object(fields)) => {
                let expansion = transformer.inner("query_expansion", fields.clone());
                let length = expansion.size("length", LONGEST)?;
                let limit = match expansion.text("strategy")? {
                    Some("fixed") => Some(length),
                    Some("min") => query_length.map(|most| most.max(length)),
                    _ => return Err(expansion.wrong("strategy", "fixed or min")),
                };
                if query_length.is_some_and(|most| most < length) {
                    return Err(transformer.wrong("query_length", &format!("{length} or more")));
                }
                let attended = expansion.flag("attend", false)?;
                let filler = match expansion.text("token")? {
                    None => self.expansion(length, attended)?,
                    Some(token) => Expansion {
                        token: self.known(&expansion, "token", token)?,
                        length,
                        attended,
                    },
                };
                (Some(filler), limit)
            }
            Some(_) => return Err(transformer.wrong("query_expansion", "an object")),
        };
        if expansion.is_some() && mask.is_none() {
            return Err(Error::UnsupportedModel(
                "modules.json has no MultiVectorMask, and the transformer's query_expansion needs one: the tokens that it adds would have no vectors".to_owned(),
            ));
        }
        let (mut of_query, mut of_document) = (Vec::new(), Vec::new());
        if let Some(mask) = mask {
            let skipped = self.skipped(&words(mask, "skiplist_words")?, false)?;
            let tasks = match mask.get("skiplist_tasks") {
                None => vec!["document".to_owned()],
                Some(Value::String(task)) => vec![task.clone()],
                Some(_) => words(mask, "skiplist_tasks")?,
            };
            let of = |task| {
                if tasks.iter().any(|own| own == task) {
                    skipped.clone()
                } else {
                    Vec::new()
                }
            };
            (of_query, of_document) = (of("query"), of("document"));
        }
        let similarity = settings.text("similarity_fn_name")?;
        let query = Side {
            skipped: of_query,
            ..self.query(limit.unwrap_or(self.limit), None, expansion, &transformer)?
        };
        Ok(Late {
            query,
            document: Side {
                limit: length("document_length")?
                    .unwrap_or(self.limit)
                    .min(self.most),
                marker: None,
                skipped: of_document,
                expansion: None,
            },
            strips: false,
            lowercases: false,
            prompts: true,
            measure: match similarity {
                Some("meanmaxsim") => Measure::Mean,
                _ => Measure::Sum,
            },
        })
    }

    /// sentence-transformers' settings.
    fn settings(&self) -> Result<Config> {
        let settings = self.files.config(MODEL_SETTINGS)?;
        settings.map_or_else(|| Config::parse(MODEL_SETTINGS, b"{}"), Ok)
    }

    /// The rules of queries. Those that are filled up beyond what the transformer takes are
    /// refused.
    fn query(
        &self,
        limit: usize,
        marker: Option<u32>,
        expansion: Option<Expansion>,
        file: &Config,
    ) -> Result<Side> {
        if let Some(expansion) = expansion.filter(|expansion| expansion.length > self.most) {
            let reason = format!(
                "queries are filled up to {} tokens, and the model takes {}",
                expansion.length, self.most
            );
            return Err(Error::config(file.name(), reason));
        }
        Ok(Side {
            limit: limit.min(self.most),
            marker,
            skipped: Vec::new(),
            expansion,
        })
    }

    /// The filling of short queries: the mask token.
    fn expansion(&self, length: usize, attended: bool) -> Result<Expansion> {
        let token = self.tokenizer.mask().ok_or_else(|| {
            Error::InvalidTokenizer(
                "it has no mask token (mask_token in tokenizer_config.json), which fills up queries"
                    .to_owned(),
            )
        })?;
        Ok(Expansion {
            token,
            length,
            attended,
        })
    }

    /// The token that marks queries or documents; none for an empty name.
    fn marker(&self, file: &Config, field: &str, name: &str) -> Result<Option<u32>> {
        if name.is_empty() {
            return Ok(None);
        }
        self.known(file, field, name).map(Some)
    }

    /// The id of a token that the file's field names.
    fn known(&self, file: &Config, field: &str, name: &str) -> Result<u32> {
        self.tokenizer.id(name).ok_or_else(|| {
            let reason = format!(
                "{field} is {name:?}, which the tokenizer's vocabulary lacks; check that both belong to the same model"
            );
            Error::config(file.name(), reason)
        })
    }

    /// Ids of the first token of each word, in ascending order.
    fn first_tokens(&self, words: &[String]) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for word in words {
            let tokens = self.tokenizer.describe(word, false)?;
            ids.extend(tokens.first().map(|token| token.id));
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Ids of tokens that have no vector, in ascending order. With `unknown`, the unknown token
    /// stands for words that the vocabulary lacks.
    fn skipped(&self, words: &[String], unknown: bool) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for word in words {
            match self.tokenizer.id(word) {
                Some(id) => ids.push(id),
                None if unknown => {
                    let id = self.tokenizer.unknown_token();
                    ids.push(id.ok_or_else(|| {
                        Error::InvalidTokenizer(format!(
                            "{word:?} is to have no vector, and the vocabulary has neither it nor an unknown token"
                        ))
                    })?);
                }
                None => {}
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}

/// Punctuation, each character by itself.
fn punctuation() -> Vec<String> {
    PUNCTUATION.chars().map(String::from).collect()
}

/// A list of strings; empty if the field is absent.
fn words(file: &Config, field: &str) -> Result<Vec<String>> {
    let wrong = || file.wrong(field, "a list of strings");
    let Some(list) = file.get(field) else {
        return Ok(Vec::new());
    };
    let list = list.as_array().ok_or_else(wrong)?.iter();
    let words: Option<_> = list.map(|word| word.as_str().map(str::to_owned)).collect();
    words.ok_or_else(wrong)
}
