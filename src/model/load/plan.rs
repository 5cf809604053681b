//! What the small files say about a model, read before its weights arrive: routes, heads, and where
//! each tensor is stored.

use std::sync::Arc;

use serde_json::Value;

use crate::backend::{Backend, Pooling, WeightDtype};
use crate::error::{Error, Result};
use crate::full::Full;
use crate::model::families::config::Config;
use crate::model::families::{self, Family, OwnModule};
use crate::model::kind::Kind;
use crate::model::load::checkpoint::{Checkpoint, Reading};
use crate::model::load::discovery;
use crate::model::load::files::{ADAPTER_CONFIG, CONFIG, Files, MODEL_SETTINGS, MODULES, WEIGHTS};
use crate::model::load::heads;
use crate::model::load::kind;
use crate::model::load::late::{self, LateModules};
use crate::model::load::late_layout::LateLayout;
use crate::model::load::layout_builder::LayoutBuilder;
use crate::model::load::lora::{self, Lora, LoraInfo};
use crate::model::load::marker::Marker;
use crate::model::load::options::LoadOptions;
use crate::model::load::pipeline::{self, Module, ModuleEntry, RouteEntries};
use crate::model::load::scoring::{self, Asked};
use crate::model::load::sentence::{self, Sentence};
use crate::model::load::stated::{self, Stated};
use crate::model::load::static_files;
use crate::model::load::tokenizers::{Tokenizers, Use, check_ids};
use crate::model::transformer::classifier::Classifier;
use crate::model::transformer::heads::{DenseHead, SparseHead, TokenProjection};
use crate::model::transformer::late::Late;
use crate::model::transformer::layout::{Encoder, MlmHead};
use crate::model::transformer::route::StaticEmbedding;
use crate::model::transformer::route::{Body, Route, Transformer};
use crate::model::transformer::spec::{Relative, Spec};
use crate::text::Tokenizer;
use crate::weights;
use crate::weights::gguf;
use crate::weights::quantized::{self, Quantization};

/// A model whose weights are still to be read.
pub struct Plan<B: Backend> {
    /// The ways through the model.
    pub routes: Vec<Route>,
    /// Index of the route to take if the caller names no task.
    pub default_route: usize,
    /// Family of that route.
    pub family: &'static str,
    /// The template for instructions of that family.
    pub instruction: Option<&'static str>,
    /// All modules as text, for the model's `space_id`.
    pub pipeline: String,
    /// Files to stream: index in the layout, and path.
    pub streamed: Vec<(usize, String)>,
    /// Takes the weights.
    pub checkpoint: Checkpoint<B>,
    /// How weights are held.
    pub dtype: WeightDtype,
    /// Whether there is a modules.json.
    pub has_modules: bool,
    /// The kind that the caller asked for, now or before the model was saved.
    pub kind: Option<Kind>,
    /// Whether the model would be refused, or be of another kind, if no kind had been asked for.
    pub insists: bool,
    /// What is ignored because a kind was asked for: classes, code, tensors.
    pub left_out: Vec<String>,
    /// The head that is assumed without modules.json: a pooling mode, or `splade`.
    pub assumed: Option<&'static str>,
    /// What the model's files state otherwise than the caller, by the name of the option.
    pub overridden: Vec<(&'static str, Value)>,
    /// The adapter that is merged into the weights.
    pub lora: Option<LoraInfo>,
    /// Hash of the tokenizers.
    pub text: u64,
    /// Hash of the weights that a saved model was quantised from, if it is loaded in the dtype that
    /// it was saved in.
    pub fingerprint: Option<u64>,
}

impl<B: Backend> Plan<B> {
    /// Reads all small files, after it has written into them what the options state. `backend`
    /// takes the weights among them. `lora` is merged into the weights.
    pub fn new(
        backend: &B,
        files: &mut Files,
        options: &LoadOptions,
        lora: Option<Full<Lora>>,
    ) -> Result<Self> {
        if let (true, Some(bytes)) = (files.is_absent(CONFIG), files.bytes(ADAPTER_CONFIG)) {
            return Err(lora::instead_of_model(bytes, &options.model));
        }
        let stated = stated::apply(files, options)?;
        let files = &*files;
        let modules = discovery::modules(files)?;
        let has_modules = modules.is_some();
        let modules = modules.unwrap_or_else(|| vec![discovery::root()]);
        let (listed, default_route) = discovery::routes(files, &modules)?;
        let mut planner = Planner {
            files,
            layout: LayoutBuilder::default(),
            tokenizers: Tokenizers::new(files),
            saved: None,
            tables: Vec::new(),
            kind: options.kind,
            insists: stated.insists,
            stated,
            foreign: Vec::new(),
            is_cross_encoder: false,
            has_modules,
            lora: lora.as_ref().map(|lora| lora.info()),
        };
        if let Some(config) = files.config(MODEL_SETTINGS)? {
            planner.foreign.extend(kind::foreign_type(&config)?);
            planner.is_cross_encoder = kind::is_cross_encoder(&config)?;
        }
        let routes = match planner.routes(listed) {
            // That the model is not supported is more useful to know than what else is wrong with
            // it.
            Err(_) if planner.kind.is_none() && !planner.foreign.is_empty() => {
                return Err(kind::refuse(&planner.foreign));
            }
            routes => routes?,
        };
        planner.finish(backend, (options, lora), routes, default_route)
    }

    /// Streams `path` instead of its folder's `model.safetensors`.
    pub fn replace_weights(&mut self, path: &str) -> Result<()> {
        let usual = weights::usual(path);
        let mut files = self.streamed.iter_mut().map(|(_, file)| file);
        let Some(file) = files.find(|file| **file == usual) else {
            let reason =
                format!("{path} is to stand in for {usual}, which the model has no use for");
            return Err(Error::input("file", reason));
        };
        path.clone_into(file);
        Ok(())
    }
}

/// Reads the small files.
struct Planner<'a> {
    files: &'a Files,
    layout: LayoutBuilder,
    tokenizers: Tokenizers<'a>,
    /// The mark in a config.json, if Gossamer saved the model.
    saved: Option<Marker>,
    /// Vectors that come from JSON: index and values.
    tables: Vec<(usize, Vec<f32>)>,
    /// The kind that the caller asked for.
    kind: Option<Kind>,
    /// Whether the kind changes how the model is read.
    insists: bool,
    /// What the files say that is not supported.
    foreign: Vec<String>,
    /// Whether sentence-transformers' settings say that the model scores pairs.
    is_cross_encoder: bool,
    /// Whether there is a modules.json that is followed.
    has_modules: bool,
    /// The adapter to merge.
    lora: Option<LoraInfo>,
    /// What the options replace, and what is assumed without them.
    stated: Stated,
}

/// A route and what is to be known about it.
struct PlannedRoute {
    route: Route,
    /// Family of its transformer.
    family: &'static str,
    /// The template for instructions of that family.
    instruction: Option<&'static str>,
    /// Its modules as text.
    modules: String,
}

/// What the files say of a transformer and the modules after it.
struct Described {
    config: Config,
    marker: Option<Marker>,
    sentence: Sentence,
    modules: Vec<Module>,
    /// The modules of a late-interaction model.
    late: Option<LateModules>,
}

/// A transformer without heads.
struct Backbone {
    family: &'static Family,
    /// Index of its weight file.
    file: usize,
    spec: Box<Spec>,
    encoder: Box<Encoder>,
    /// Whether a head without a decoder uses the word embeddings.
    tied: bool,
}

/// The heads of a transformer.
#[derive(Default)]
struct Heads {
    dense: Option<DenseHead>,
    sparse: Option<SparseHead>,
    colbert: Option<TokenProjection>,
    classifier: Option<Classifier>,
}

impl Backbone {
    /// The head for masked language modelling that SPLADE reads.
    fn mlm_head(&self, layout: &mut LayoutBuilder) -> Result<MlmHead> {
        let names = self.family.mlm.as_ref().ok_or_else(|| {
            Error::UnsupportedModel(format!(
                "SPLADE needs a head for masked-language modelling, which the family {} does not have",
                self.family.name
            ))
        })?;
        Ok(layout.mlm_head(self.file, &self.spec, names, &self.encoder, self.tied))
    }

    /// What its tokenizer depends on.
    fn usage(&self, dense: Option<&DenseHead>, sentence: &Sentence) -> Use {
        Use {
            rows: self.spec.vocab_size,
            last: self.last_token(dense),
            lowercase: sentence.lowercase,
        }
    }

    /// Name of the token at the end of every text, if its state is the vector. It was part of
    /// `spaceId` in the first version and stays part of it.
    fn last_token(&self, dense: Option<&DenseHead>) -> &'static str {
        let pools_last = |head: &DenseHead| head.pooling.contains(&Pooling::LastToken);
        match self.family.name {
            "qwen3" if dense.is_some_and(pools_last) => "<|endoftext|>",
            "mistral" if dense.is_some_and(pools_last) => "</s>",
            _ => "",
        }
    }
}

impl Planner<'_> {
    /// All routes of a model.
    fn routes(&mut self, listed: Vec<RouteEntries>) -> Result<Vec<PlannedRoute>> {
        let mut all = Vec::new();
        for route in listed {
            let Some((first, rest)) = route.modules.split_first() else {
                return Err(Error::config(MODULES, "lists no modules"));
            };
            all.push(match first.kind.as_str() {
                "StaticEmbedding" => self.static_table(route.name, first, Some(rest))?,
                "Transformer"
                    if !self.has_modules && static_files::is_model2vec(self.files)? =>
                {
                    self.static_table(route.name, first, None)?
                }
                "Transformer" | "MLMTransformer" | pipeline::TASKS => {
                    let rest = self.has_modules.then_some(rest);
                    let planned = self.transformer(route.name, first, rest)?;
                    let tasks = tasks(&planned)?;
                    all.push(planned);
                    all.extend(tasks);
                    continue;
                }
                "SparseStaticEmbedding" | "IDF" if rest.is_empty() => {
                    self.table(route.name, first)?
                }
                other => {
                    return Err(Error::UnsupportedModel(format!(
                        "modules.json begins with a module of type {other}, which is not supported there; it must be Transformer, MLMTransformer, StaticEmbedding, or SparseStaticEmbedding by itself"
                    )));
                }
            });
        }
        Ok(all)
    }

    /// What the files say of a transformer and the modules after it, and whether the model is
    /// another one than it was taken for.
    fn describe(&mut self, entry: &ModuleEntry, rest: Option<&[ModuleEntry]>) -> Result<Described> {
        let path = entry.file(CONFIG);
        let mut config = Config::parse(&path, self.files.required(&path)?)?;
        let settings = match rest {
            Some(_) => self.files.config(MODEL_SETTINGS)?,
            None => None,
        };
        let late = LateLayout::find(&config, settings.as_ref(), rest)?;
        let marker = Marker::read(&config)?;
        if let Some(kind) = marker.as_ref().and_then(|marker| marker.kind) {
            self.kind.get_or_insert(kind);
            self.insists = true;
        }
        let asked_for_vectors = matches!(self.kind, Some(Kind::Dense | Kind::Sparse));
        if late.is_some() && !asked_for_vectors {
            self.foreign.retain(|what| !kind::is_late_type(what));
        }
        let sentence = self.sentence(entry, rest.is_some(), late.is_some())?;
        config.override_by(&sentence.config)?;
        // The modules of a model that scores pairs, or compares vectors of tokens, say nothing
        // about vectors of texts.
        if (self.is_cross_encoder || late.is_some()) && asked_for_vectors {
            self.has_modules = false;
        }
        let rest = rest.filter(|_| self.has_modules);
        let late = match late {
            Some(layout) if asked_for_vectors => {
                if layout == LateLayout::PyLate && self.foreign.is_empty() {
                    self.foreign.push(layout.name().to_owned());
                }
                None
            }
            Some(layout) => Some(LateModules::read(layout, self.files, rest)?),
            None => None,
        };
        let modules = match (rest, &late) {
            (_, Some(late)) => late.modules().to_vec(),
            (Some([]), None) if self.is_cross_encoder => vec![Module::Classifier],
            (rest, None) => self.modules(entry, &config, rest)?,
        };
        let own = own_module(&config)?;
        let is_supported = match own {
            OwnModule::None => false,
            OwnModule::Tasks => config.get("lora_adaptations").is_some(),
            OwnModule::LastToken => true,
        };
        if entry.kind == pipeline::TASKS && !is_supported {
            return Err(pipeline::unsupported(pipeline::TASKS));
        }
        let has_lora = self.lora.is_some() || marker.as_ref().is_some_and(|own| own.lora.is_some());
        if own == OwnModule::LastToken && !has_lora {
            let names = config
                .get("task_names")
                .map(Value::to_string)
                .unwrap_or_default();
            let reason = format!(
                "the model has an adapter for each of its tasks, {names}, and takes one: load it with one of these names as the option adapter"
            );
            return Err(Error::input("adapter", reason));
        }
        let head = head_of(&modules);
        if self.is_cross_encoder && !modules.last().is_some_and(Module::gives_scores) {
            self.foreign.push(
                "a CrossEncoder without a head that gives scores (config_sentence_transformers.json)"
                    .to_owned(),
            );
        }
        let has_own_modules = rest.is_some() && self.files.is_original(MODULES);
        let mut foreign = kind::foreign(&config, has_own_modules, head);
        if late.is_some() {
            foreign.retain(|what| *what != LateLayout::Stanford.name());
        }
        self.foreign.extend(foreign);
        if rest.is_some() {
            heads::check_task(
                &entry.kind,
                &sentence,
                &modules,
                &entry.file(sentence::NAMES[0]),
            )?;
        }
        Ok(Described {
            config,
            marker,
            sentence,
            modules,
            late,
        })
    }

    /// A transformer and its heads. `rest` is what modules.json lists after it, `None` without
    /// modules.json.
    fn transformer(
        &mut self,
        name: String,
        entry: &ModuleEntry,
        rest: Option<&[ModuleEntry]>,
    ) -> Result<PlannedRoute> {
        let Described {
            config,
            marker,
            sentence,
            modules,
            late,
        } = self.describe(entry, rest)?;
        let body = self.body(entry, &config, marker)?;
        let asked = self.asked(&body, entry, &sentence, (&modules, &config))?;
        let mut heads = match &late {
            None => self.heads(&body, entry, &modules, (&config, &sentence, &asked))?,
            Some(_) => Heads::default(),
        };
        let usage = body.usage(heads.dense.as_ref(), &sentence);
        let mut tokenizer = self.tokenizers.get(entry, usage)?;
        check_ids(&tokenizer, body.spec.vocab_size)?;
        let (question, head) = (asked.question(), head_of(&modules));
        let mut asks = String::new();
        if question.is_some() || head.is_some() {
            let padding = padding(&body, head, &config)?;
            if question.is_some() || padding.is_some() {
                asks = format!(" {:?} {padding:?}", question.as_deref());
                tokenizer = Arc::new(tokenizer.with_question(question, padding));
            }
        }
        if heads.dense.is_some() {
            let (layout, files, hidden) = (&mut self.layout, self.files, body.spec.output_size());
            heads.sparse = heads::lexical(layout, files, entry, hidden, &tokenizer);
            heads.colbert = heads::colbert(layout, files, entry, hidden)?;
        }
        let max_tokens = match sentence.max_tokens {
            Some(limit) => limit,
            None => self.tokenizers.max_tokens(entry)?,
        };
        if let Some(late) = &late {
            let texts = (&*tokenizer, max_tokens, sentence.lowercase);
            heads.colbert = Some(self.late(late, entry, &body, texts)?);
        }
        let max_tokens = max_tokens.min(body.spec.max_positions);
        // Texts of late-interaction models have limits of their own.
        let late = heads.colbert.as_ref().and_then(|head| head.late.as_ref());
        let max_tokens = late.map_or(max_tokens, Late::limit);
        let added = match heads.classifier {
            Some(_) => scoring::check_pairs(&tokenizer, &body.spec)?,
            None => tokenizer.added(),
        };
        if max_tokens <= added {
            if self.stated.has_max_tokens {
                let reason = format!("maxTokens is {max_tokens}, which leaves no room for text");
                return Err(Error::input("maxTokens", reason));
            }
            return Err(Error::config(
                entry.file(sentence::NAMES[0]),
                format!("the maximum of {max_tokens} tokens leaves no room for text"),
            ));
        }
        Ok(PlannedRoute {
            family: body.family.name,
            instruction: body.family.instruction,
            modules: match (&heads.classifier, late) {
                (Some(head), _) => {
                    let pooling = &head.head.pooling[0];
                    format!("{modules:?} {pooling:?} {:?}{asks}", head.scores)
                }
                (None, Some(late)) => format!("{modules:?} {late:?}"),
                (None, None) => format!("{modules:?}"),
            },
            route: Route {
                name,
                tokenizer,
                max_tokens,
                body: Body::Transformer(Box::new(Transformer {
                    vocab_size: body.spec.vocab_size,
                    spec: body.spec,
                    encoder: body.encoder,
                    dense: heads.dense,
                    sparse: heads.sparse,
                    colbert: heads.colbert,
                    classifier: heads.classifier,
                })),
            },
        })
    }

    /// sentence-transformers' settings of a transformer, which it reads only for models with
    /// modules.json.
    fn sentence(&self, entry: &ModuleEntry, has_modules: bool, late: bool) -> Result<Sentence> {
        let names = sentence::NAMES.iter().filter(|_| has_modules);
        for name in names {
            if let Some(file) = self.files.config(&entry.file(name))? {
                return Sentence::read(&file, late);
            }
        }
        Ok(Sentence::default())
    }

    /// The modules after a transformer: those that modules.json lists, or what
    /// sentence-transformers assumes without it.
    fn modules(
        &mut self,
        entry: &ModuleEntry,
        config: &Config,
        listed: Option<&[ModuleEntry]>,
    ) -> Result<Vec<Module>> {
        if own_module(config)? == OwnModule::LastToken && listed.is_none_or(<[_]>::is_empty) {
            let pooling = Module::Pooling {
                modes: vec![Pooling::LastToken],
                include_prompt: true,
            };
            return Ok(vec![pooling, Module::Normalize]);
        }
        let Some(listed) = listed else {
            let asks = heads::may_ask(config) && scoring::asks(self.files, entry)?;
            let module = heads::assumed(config, self.kind, asks)?;
            self.insists |= module != heads::assumed(config, None, asks)?;
            self.stated.assumed = stated::assumed(&module, self.kind);
            return Ok(vec![module]);
        };
        self.listed(listed)
    }

    /// The modules that modules.json lists after the first one.
    fn listed(&self, entries: &[ModuleEntry]) -> Result<Vec<Module>> {
        let modules = entries.iter().map(|entry| {
            let config = self.files.config(&entry.file(CONFIG))?;
            pipeline::module(entry, config.as_ref())
        });
        modules.collect()
    }

    /// The transformer itself.
    fn body(
        &mut self,
        entry: &ModuleEntry,
        config: &Config,
        marker: Option<Marker>,
    ) -> Result<Backbone> {
        let weights = entry.file(WEIGHTS);
        let family = families::find(config)?;
        let spec = (family.spec)(config)?;
        let (file, encoder) = self.layout.encoder(weights, &spec, family);
        let quantization = config.get("quantization_config");
        // MLX calls it by two names.
        let is_quantized = quantization
            .or_else(|| config.get("quantization"))
            .is_some();
        if is_quantized && marker.is_none() {
            quantized::need_libraries()?;
        }
        let quantization = Quantization::read(quantization, marker.is_some())
            .map_err(|reason| Error::config(entry.file(CONFIG), reason))?;
        self.layout.set_quantization(file, quantization);
        if self.saved.is_none() {
            self.saved = marker;
        }
        Ok(Backbone {
            family,
            file,
            tied: config.flag("tie_word_embeddings", true)?,
            spec: Box::new(spec),
            encoder: Box::new(encoder),
        })
    }

    /// What pairs of texts are put in, of rerankers.
    fn asked(
        &mut self,
        body: &Backbone,
        entry: &ModuleEntry,
        sentence: &Sentence,
        (modules, config): (&[Module], &Config),
    ) -> Result<Asked> {
        let is_decoder = matches!(modules, [Module::Logits { .. }]);
        let may_ask = is_decoder || (modules == [Module::Classifier] && heads::may_ask(config));
        if !may_ask {
            return Ok(Asked::Pair);
        }
        let insists = self.kind == Some(Kind::Reranker) && !self.has_modules;
        let about = (body.family, insists, self.has_modules, is_decoder);
        let asked = Asked::read(self.files, entry, sentence, about)?;
        self.insists |= matches!(asked, Asked::Judge(..));
        Ok(asked)
    }

    /// The heads that the modules describe.
    fn heads(
        &mut self,
        body: &Backbone,
        entry: &ModuleEntry,
        modules: &[Module],
        (config, sentence, asked): (&Config, &Sentence, &Asked),
    ) -> Result<Heads> {
        let hidden = body.spec.output_size();
        Ok(match modules {
            [Module::Logits { tokens }] => {
                let tokens = if let Some(tokens) = tokens {
                    *tokens
                } else {
                    let usage = body.usage(None, sentence);
                    let tokenizer = self.tokenizers.get(entry, usage)?;
                    let id = |token| {
                        tokenizer.id(token).ok_or_else(|| {
                            Error::InvalidTokenizer(format!(
                                "it has no token {token:?}, which the model is to answer with"
                            ))
                        })
                    };
                    let [yes, no] = asked.answers();
                    (id(yes)?, Some(id(no)?))
                };
                Heads {
                    classifier: Some(self.decoder(body, config, tokens, asked.sigmoid())?),
                    ..Heads::default()
                }
            }
            [.., Module::Scores(_)] => {
                let settings = self.settings()?;
                let head = heads::dense(&mut self.layout, hidden, modules)?;
                Heads {
                    classifier: Some(scoring::chain(head, config, settings.as_ref())?),
                    ..Heads::default()
                }
            }
            [modules @ .., Module::Autoencoder { path, shape, kept }] => {
                let own = (path.as_str(), *shape, *kept);
                Heads {
                    sparse: Some(heads::autoencoder(&mut self.layout, hidden, modules, own)?),
                    ..Heads::default()
                }
            }
            [Module::Splade(splade)] => Heads {
                sparse: Some(SparseHead::Splade {
                    mlm: body.mlm_head(&mut self.layout)?,
                    splade: *splade,
                }),
                ..Heads::default()
            },
            [Module::Classifier] => Heads {
                classifier: Some(self.classifier(body, config)?),
                ..Heads::default()
            },
            modules => Heads {
                dense: Some(heads::dense(
                    &mut self.layout,
                    body.spec.output_size(),
                    modules,
                )?),
                ..Heads::default()
            },
        })
    }

    /// sentence-transformers' settings of the whole model, which it reads only for models with
    /// modules.json.
    fn settings(&self) -> Result<Option<Config>> {
        if self.has_modules {
            self.files.config(MODEL_SETTINGS)
        } else {
            Ok(None)
        }
    }

    /// The head of a reranker that is a decoder.
    fn decoder(
        &mut self,
        body: &Backbone,
        config: &Config,
        tokens: (u32, Option<u32>),
        sigmoid: bool,
    ) -> Result<Classifier> {
        let scores = scoring::activation(config, self.settings()?.as_ref(), sigmoid)?;
        let names = body.family.classifier;
        if names.is_none_or(|names| names.dense.is_some()) {
            return Err(kind::refuse(&[format!(
                "a reranker of the family {} that is asked for a token",
                body.family.name
            )]));
        }
        let own = (body.file, &*body.spec, &*body.encoder);
        scoring::decoder(&mut self.layout, own, tokens, config, scores)
    }

    /// The head of a reranker.
    fn classifier(&mut self, body: &Backbone, config: &Config) -> Result<Classifier> {
        let settings = self.settings()?;
        let own = (body.file, body.family, &*body.spec);
        scoring::classifier(&mut self.layout, own, config, settings.as_ref())
    }

    /// The projection of a late-interaction model. Its texts have a tokenizer, a limit of tokens,
    /// and may be lower-cased.
    fn late(
        &mut self,
        late: &LateModules,
        entry: &ModuleEntry,
        body: &Backbone,
        (tokenizer, limit, lowercase): (&Tokenizer, usize, bool),
    ) -> Result<TokenProjection> {
        let encoder = late::Encoder {
            file: body.file,
            family: body.family.name,
            spec: &body.spec,
            entry,
            lowercase,
        };
        late.projection(&mut self.layout, self.files, &encoder, tokenizer, limit)
    }

    /// A table of static embeddings and the modules after it, which are those of model2vec if
    /// `rest` is `None`.
    fn static_table(
        &mut self,
        name: String,
        entry: &ModuleEntry,
        rest: Option<&[ModuleEntry]>,
    ) -> Result<PlannedRoute> {
        let tokenizer = self.tokenizers.alone(entry)?;
        let tokens = tokenizer.last() as usize + 1;
        let table = self.layout.table_file(entry.file(WEIGHTS), tokens);
        let mut modules = vec![Module::Pooling {
            modes: vec![Pooling::Mean],
            include_prompt: true,
        }];
        match rest {
            Some(rest) => modules.extend(self.listed(rest)?),
            None if static_files::normalizes(self.files)? => modules.push(Module::Normalize),
            None => {}
        }
        let width = modules.iter().find_map(|module| match module {
            Module::Dense { shape, .. } => Some(shape[1]),
            _ => None,
        });
        let head = heads::dense(&mut self.layout, width.unwrap_or(0), &modules)?;
        Ok(PlannedRoute {
            route: Route {
                name,
                max_tokens: tokenizer.truncation().unwrap_or(static_files::UNLIMITED),
                tokenizer: Arc::new(tokenizer),
                body: Body::Static(Box::new(StaticEmbedding {
                    table,
                    head,
                    input: width,
                    vocab_size: tokens,
                    dropped: None,
                    model2vec_limit: static_files::max_length(self.files)?,
                })),
            },
            family: "static",
            instruction: None,
            modules: format!("StaticEmbedding {:?}", &modules[1..]),
        })
    }

    /// A table of weights by token, for queries without a transformer.
    fn table(&mut self, name: String, entry: &ModuleEntry) -> Result<PlannedRoute> {
        let usage = Use {
            rows: 0,
            last: "",
            lowercase: false,
        };
        let tokenizer = self.tokenizers.get(entry, usage)?.without_special_tokens();
        let json = match self.files.config(&entry.file(CONFIG))? {
            Some(config) => discovery::table_paths(entry, &config)?,
            None => Vec::new(),
        };
        let present = json.iter().find(|name| self.files.bytes(name).is_some());
        let (weights, vocab_size) = match present {
            Some(path) => {
                let values = heads::table(path, self.files.required(path)?, &tokenizer)?;
                let (vector, size) = (self.layout.unfilled_vector(values.len()), values.len());
                self.tables.push((vector, values));
                (vector, size)
            }
            None if json.is_empty() => {
                let size = tokenizer.size();
                let file = self.layout.head_file(entry.file(WEIGHTS));
                let names = ["weight".to_owned()];
                (self.layout.vector(file, &names, &[size]), size)
            }
            None => return Err(Error::MissingFile(json.join(" or "))),
        };
        check_ids(&tokenizer, vocab_size)?;
        let route = Route {
            name,
            max_tokens: self.tokenizers.max_tokens(entry)?,
            tokenizer: Arc::new(tokenizer),
            body: Body::Table {
                weights,
                vocab_size,
            },
        };
        Ok(PlannedRoute {
            route,
            family: "table",
            instruction: None,
            modules: "SparseStaticEmbedding".to_owned(),
        })
    }

    /// Makes the plan: checks the kind, and stores the weights that are among the small files.
    fn finish<B: Backend>(
        self,
        backend: &B,
        (options, lora): (&LoadOptions, Option<Full<Lora>>),
        routes: Vec<PlannedRoute>,
        default_route: usize,
    ) -> Result<Plan<B>> {
        let layout = self.layout.finish();
        let all = layout.files.iter().enumerate();
        let all = all.map(|(index, file)| (file.is_small, index, file.path.clone()));
        let (small, streamed): (Vec<_>, Vec<_>) = all.partition(|(is_small, ..)| *is_small);
        let usual = self
            .saved
            .as_ref()
            .map_or(WeightDtype::Q8, |saved| saved.dtype);
        let dtype = options.dtype.unwrap_or(usual);
        let saved = self.saved.as_ref().and_then(|saved| saved.lora.clone());
        if saved.is_some() && self.lora.is_some() {
            let reason = "adapter is stated, and the model was saved with an adapter merged into it; load the original";
            return Err(Error::input("adapter", reason));
        }
        let is_gguf = options.file.as_deref().is_some_and(gguf::is_gguf);
        let merge = lora.map(|lora| lora::place(lora, &layout, is_gguf));
        let mut checkpoint = Checkpoint::new(layout, dtype, options.dtype);
        if let Some(merge) = merge.transpose()? {
            checkpoint.merge(merge);
        }
        match self.kind {
            Some(_) => checkpoint.ignore_unused(),
            // The error is raised once the header of the weights has told which tensors are unused.
            None => checkpoint.refuse_as(self.foreign.clone()),
        }
        for (_, file, path) in small {
            let mut reading = Reading::new(file, &path)?;
            checkpoint.push(backend, &mut reading, self.files.required(&path)?)?;
            checkpoint.end(reading)?;
        }
        for (vector, values) in self.tables {
            checkpoint.set_vector(vector, values);
        }
        let transformers = routes
            .iter()
            .filter_map(|planned| planned.route.transformer());
        for transformer in transformers {
            if let Some(Relative::Disentangled(_)) = transformer.spec.relative {
                backend.need_cpu("DeBERTa's attention")?;
            }
        }
        let default = &routes[default_route];
        check_kind(self.kind, default.route.kind())?;
        for PlannedRoute { route, .. } in &routes {
            check_max_tokens(options.max_tokens, route)?;
        }
        let (family, instruction) = (default.family, default.instruction);
        let modules: Vec<&str> = routes.iter().map(|route| route.modules.as_str()).collect();
        Ok(Plan {
            default_route,
            family,
            instruction,
            pipeline: modules.join(" | "),
            routes: routes.into_iter().map(|planned| planned.route).collect(),
            streamed: streamed
                .into_iter()
                .map(|(_, file, path)| (file, path))
                .collect(),
            checkpoint,
            dtype,
            has_modules: self.has_modules,
            kind: self.kind,
            insists: self.insists || !self.foreign.is_empty(),
            left_out: self.foreign,
            assumed: self.stated.assumed,
            overridden: self.stated.overridden,
            lora: self.lora.or(saved),
            text: self.tokenizers.hash(),
            fingerprint: self
                .saved
                .filter(|saved| saved.dtype == dtype)
                .map(|saved| saved.fingerprint),
        })
    }
}

/// The module of a model's own code.
fn own_module(config: &Config) -> Result<OwnModule> {
    Ok(families::find(config)?.own_module)
}

/// The kind of head of transformers that gives the scores of a reranker, if that is how its modules
/// begin.
fn head_of(modules: &[Module]) -> Option<&'static str> {
    match modules {
        [Module::Classifier] => Some(kind::CLASSIFIER),
        [Module::Logits { .. }] => Some(kind::DECODER),
        _ => None,
    }
}

/// The token that transformers' heads for sequence classification of decoders leave out at the end.
fn padding(body: &Backbone, head: Option<&str>, config: &Config) -> Result<Option<u32>> {
    let names = body.family.classifier;
    let is_decoder = names.is_some_and(|names| names.dense.is_none());
    if head != Some(kind::CLASSIFIER) || !is_decoder || !families::is_causal(config)? {
        return Ok(None);
    }
    let padding = config.get("pad_token_id").and_then(Value::as_u64);
    Ok(padding.and_then(|padding| u32::try_from(padding).ok()))
}

/// The routes through a transformer with the adapters of its tasks. The route without a name uses
/// none.
fn tasks(planned: &PlannedRoute) -> Result<Vec<PlannedRoute>> {
    let Route {
        name,
        tokenizer,
        max_tokens,
        body: Body::Transformer(transformer),
    } = &planned.route
    else {
        return Ok(Vec::new());
    };
    let Some(adapters) = &transformer.spec.adapters else {
        return Ok(Vec::new());
    };
    let (Some(dense), true) = (&transformer.dense, name.is_empty()) else {
        return Err(Error::UnsupportedModel(
            "the model has adapters for tasks (lora_adaptations), and a head or routes with which these are not supported"
                .to_owned(),
        ));
    };
    let tasks = adapters.tasks.iter().enumerate();
    let tasks = tasks.map(|(index, task)| PlannedRoute {
        family: planned.family,
        instruction: planned.instruction,
        modules: format!("{task} {}", adapters.scale),
        route: Route {
            name: task.clone(),
            tokenizer: Arc::clone(tokenizer),
            max_tokens: *max_tokens,
            body: Body::Transformer(Box::new(Transformer {
                spec: transformer.spec.clone(),
                encoder: Box::new(Encoder {
                    task: Some(index),
                    ..Encoder::clone(&transformer.encoder)
                }),
                vocab_size: transformer.vocab_size,
                dense: Some(dense.clone()),
                sparse: None,
                colbert: None,
                classifier: None,
            })),
        },
    });
    Ok(tasks.collect())
}

/// Refuses a kind that the model's modules contradict.
fn check_kind(kind: Option<Kind>, own: Kind) -> Result<()> {
    let Some(kind) = kind.filter(|kind| *kind != own) else {
        return Ok(());
    };
    let reason = format!(
        "kind is {:?}, but the model's modules make it {}",
        kind.name(),
        own.name()
    );
    Err(Error::input("kind", reason))
}

/// Refuses a maximum that the caller states and that the model cannot take.
fn check_max_tokens(stated: Option<usize>, route: &Route) -> Result<()> {
    match stated.filter(|most| *most > route.max_tokens) {
        None => Ok(()),
        Some(most) => Err(Error::input(
            "maxTokens",
            format!(
                "maxTokens is {most}; the model can take at most {} tokens",
                route.max_tokens
            ),
        )),
    }
}
