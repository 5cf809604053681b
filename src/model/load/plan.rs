//! Everything that a model's small files say, read before a byte of its weights arrives: routes, heads, and which tensor
//! goes where.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::backend::{Backend, Pooling, Splade, SpladeActivation, SpladeStrategy, WeightDtype};
use crate::error::{Error, Result};
use crate::model::families::config::Config;
use crate::model::families::{self, Family};
use crate::model::load::checkpoint::Checkpoint;
use crate::model::load::fingerprint::Fingerprint;
use crate::model::load::kind::{self, Kind};
use crate::model::load::layout_builder;
use crate::model::load::loader::Files;
use crate::model::load::pipeline::{self, Entry, Module, ROUTER};
use crate::model::load::save::Marker;
use crate::model::load::sentence::{self, Sentence};
use crate::model::transformer::candle;
use crate::model::transformer::heads::{DenseHead, SparseHead, Step};
use crate::model::transformer::layout::{Layout, Linear, MlmHead, Precision};
use crate::model::transformer::route::{AnyEncoder, Body, Route, Transformer};
use crate::text::{self, Settings, Tokenizer};
use crate::weights;
use crate::weights::quantized::Quantization;

const MODULES: &str = "modules.json";
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// sentence-transformers' settings of the whole model.
pub(in crate::model) const PROMPTS: &str = "config_sentence_transformers.json";
/// Small files that older tokenizers have; `tokenizer_config.json` takes their place where it lists added tokens.
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const ADDED_TOKENS: &str = "added_tokens.json";
const WEIGHTS: &str = "model.safetensors";
/// BGE-M3's heads beside its encoder: small, and absent from most models of its family.
const LEXICAL: &str = "sparse_linear.safetensors";
const COLBERT: &str = "colbert_linear.safetensors";
/// Most rows of a table of weights by token, as for embedding tables.
const MOST_ENTRIES: usize = 1 << 24;

/// A model whose weights are still to come.
pub(in crate::model) struct Plan<B: Backend> {
    /// Ways through the model.
    pub routes: Vec<Route>,
    /// The one that is taken unless the caller says otherwise.
    pub default_route: usize,
    /// Family of that one.
    pub family: &'static str,
    /// Its family's template for instructions.
    pub instruction: Option<&'static str>,
    /// All modules, in words.
    pub pipeline: String,
    /// Files to be streamed: index in the layout, and path.
    pub streamed: Vec<(usize, String)>,
    /// Where they go.
    pub checkpoint: Checkpoint<B>,
    /// How weights are held.
    pub dtype: WeightDtype,
    /// Whether there is a modules.json.
    pub has_modules: bool,
    /// The kind that the caller asked for, now or before the model was saved.
    pub kind: Option<Kind>,
    /// Whether the model would be another one, or refused, had no kind been asked for.
    pub insists: bool,
    /// What the files say of the model that is not implemented, if the caller insisted.
    pub left_out: Vec<String>,
    /// Hash of the tokenizers.
    pub text: u64,
    /// Hash of the weights that a saved model was made of, if it is loaded as what it was saved as.
    pub fingerprint: Option<u64>,
}

/// Small files that the ones known so far make wanted.
pub(in crate::model) fn wanted(files: &Files) -> Result<Vec<String>> {
    let mut names = vec![MODULES.to_owned()];
    let entries = match files.bytes(MODULES) {
        Some(bytes) => pipeline::entries(bytes)?,
        None => vec![root()],
    };
    if let Some(router) = router(&entries) {
        names.push(router.file(ROUTER));
        if files.bytes(&router.file(ROUTER)).is_none() {
            return Ok(names);
        }
    }
    let (routes, _) = read_routes(files, &entries)?;
    for route in routes {
        for (index, entry) in route.modules.iter().enumerate() {
            names.extend(match entry.kind.as_str() {
                "SparseStaticEmbedding" | "IDF" if index == 0 => {
                    let mut names = [CONFIG, TOKENIZER, TOKENIZER_CONFIG]
                        .map(|name| entry.file(name))
                        .to_vec();
                    names.extend(token_files(files, entry)?);
                    if let Some(config) = files.config(&entry.file(CONFIG))? {
                        names.extend(table_files(entry, &config)?);
                    }
                    names
                }
                _ if index == 0 => {
                    let mut names = transformer_files(files, entry)?;
                    // Older names of the file, where the usual one is known to be absent.
                    let usual = entry.file(sentence::NAMES[0]);
                    if files.knows(&usual)
                        && files.bytes(&usual).is_none()
                        && files.bytes(MODULES).is_some()
                    {
                        names.extend(sentence::NAMES[1..].iter().map(|name| entry.file(name)));
                    }
                    let config = files.config(&entry.file(CONFIG))?;
                    if config.is_some_and(|config| may_have_m3_heads(&config)) {
                        for name in [LEXICAL, COLBERT].map(|name| entry.file(name)) {
                            names.extend(weights::alternative(&name));
                            names.push(name);
                        }
                    }
                    names
                }
                _ => vec![entry.file(CONFIG)],
            });
        }
    }
    // Loading begins before modules.json is known, with what nearly every model has in its root.
    if files.bytes(MODULES).is_none() {
        names.extend(transformer_files(files, &root())?);
    }
    Ok(names)
}

/// The small files of a transformer.
fn transformer_files(files: &Files, entry: &Entry) -> Result<Vec<String>> {
    let names = [CONFIG, TOKENIZER, TOKENIZER_CONFIG, sentence::NAMES[0]];
    let mut names = names.map(|name| entry.file(name)).to_vec();
    names.extend(token_files(files, entry)?);
    Ok(names)
}

/// The files of tokens that count, once that is known.
fn token_files(files: &Files, entry: &Entry) -> Result<Vec<String>> {
    let path = entry.file(TOKENIZER_CONFIG);
    let config = files.config(&path)?;
    let lists_tokens = config.is_some_and(|config| text::lists_tokens(&config.into_fields()));
    Ok(if !files.knows(&path) || lists_tokens {
        Vec::new()
    } else {
        [SPECIAL_TOKENS, ADDED_TOKENS]
            .map(|name| entry.file(name))
            .to_vec()
    })
}

/// What stands for modules.json where there is none.
fn root() -> Entry {
    Entry {
        kind: "Transformer".to_owned(),
        path: String::new(),
    }
}

fn router(entries: &[Entry]) -> Option<&Entry> {
    entries.first().filter(|entry| entry.kind == "Router")
}

fn read_routes(files: &Files, entries: &[Entry]) -> Result<(Vec<pipeline::RouteEntries>, usize)> {
    let router = match router(entries) {
        None => None,
        Some(entry) => Some(Config::parse(
            &entry.file(ROUTER),
            files.required(&entry.file(ROUTER))?,
        )?),
    };
    pipeline::routes(entries, router.as_ref())
}

fn may_have_m3_heads(config: &Config) -> bool {
    families::find(config).is_ok_and(|family| family.m3_heads)
}

/// The JSON file that a table of weights may be in: beside the router, or in the module's own folder.
fn table_files(entry: &Entry, config: &Config) -> Result<Vec<String>> {
    match config.text("path")? {
        Some(path) if pipeline::is_folder(path) && !path.is_empty() => {
            Ok(vec![path.to_owned(), entry.file(path)])
        }
        Some(_) => Err(config.wrong("path", "the name of a JSON file in the model's folder")),
        None => Ok(Vec::new()),
    }
}

impl<B: Backend> Plan<B> {
    /// Reads all small files; `backend` takes the weights among them.
    pub(in crate::model) fn new(
        backend: &B,
        files: &Files,
        dtype: Option<WeightDtype>,
        kind: Option<Kind>,
    ) -> Result<Self> {
        let entries = match files.bytes(MODULES) {
            Some(bytes) => Some(pipeline::entries(bytes)?),
            None => None,
        };
        let (listed, default_route) = match &entries {
            Some(entries) => read_routes(files, entries)?,
            None => pipeline::routes(&[root()], None)?,
        };
        let mut planner = Planner {
            files,
            layout: Layout::default(),
            tokenizers: Vec::new(),
            inline: Vec::new(),
            saved: None,
            text: Fingerprint::new(""),
            tables: Vec::new(),
            kind,
            insists: false,
            foreign: Vec::new(),
        };
        if let Some(config) = files.config(PROMPTS)? {
            planner.foreign.extend(kind::foreign_type(&config)?);
        }
        let all = match planner.routes(listed, entries.is_some()) {
            // What a model is comes before what else is wrong with it.
            Err(_) if planner.kind.is_none() && !planner.foreign.is_empty() => {
                return Err(kind::refuse(&planner.foreign));
            }
            all => all?,
        };
        let Planner {
            layout,
            inline,
            tables,
            saved,
            text,
            kind,
            insists,
            foreign,
            ..
        } = planner;
        let weight_files = layout.files.iter().enumerate();
        let streamed = weight_files
            .filter(|(index, _)| !inline.contains(index))
            .map(|(index, file)| (index, file.path.clone()))
            .collect();
        let paths: Vec<_> = inline
            .iter()
            .map(|file| (*file, layout.files[*file].path.clone()))
            .collect();
        let usual = saved.map_or(WeightDtype::Q8, |saved| saved.dtype);
        let dtype = dtype.unwrap_or(usual);
        let mut checkpoint = Checkpoint::new(layout, dtype);
        match kind {
            Some(_) => checkpoint.insist(),
            // The header of the weights tells which tensors it is about.
            None => checkpoint.doubt(foreign.clone()),
        }
        for (file, path) in paths {
            let mut reading = checkpoint.begin(file, &path);
            checkpoint.push(backend, &mut reading, files.required(&path)?)?;
            checkpoint.end(reading)?;
        }
        for (vector, values) in tables {
            checkpoint.set_vector(vector, values);
        }
        let default = &all[default_route];
        let is_dense = default.route.dense().is_some();
        if let Some(kind) = kind.filter(|kind| (*kind == Kind::Dense) != is_dense) {
            let other = if is_dense { "dense" } else { "sparse" };
            let reason = format!(
                "kind is {:?}, but the model's modules make it {other}",
                kind.name()
            );
            return Err(Error::input("kind", reason));
        }
        let (family, instruction) = (default.family, default.instruction);
        let described: Vec<&str> = all.iter().map(|planned| planned.modules.as_str()).collect();
        Ok(Self {
            default_route,
            family,
            instruction,
            pipeline: described.join(" | "),
            routes: all.into_iter().map(|planned| planned.route).collect(),
            streamed,
            checkpoint,
            dtype,
            has_modules: entries.is_some(),
            kind,
            insists: insists || !foreign.is_empty(),
            left_out: foreign,
            text: text.0,
            fingerprint: saved
                .filter(|saved| saved.dtype == dtype)
                .map(|saved| saved.fingerprint),
        })
    }

    /// Has `path` streamed in place of its folder's `model.safetensors`.
    pub(in crate::model) fn take_instead(&mut self, path: &str) -> Result<()> {
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

/// Each tensor and its shard, by an index of shards.
pub(in crate::model) fn shards(path: &str, index: &[u8]) -> Result<Vec<(String, String)>> {
    let folder = weights::folder(path);
    let index = Config::parse(path, index)?;
    let map = index
        .get("weight_map")
        .map(BTreeMap::<String, String>::deserialize);
    match map {
        Some(Ok(map)) if !map.is_empty() && map.values().all(|file| pipeline::is_file(file)) => {
            let place = |file: String| format!("{folder}{file}");
            Ok(map
                .into_iter()
                .map(|(tensor, file)| (tensor, place(file)))
                .collect())
        }
        _ => {
            let reason =
                "weight_map must be an object of tensors' names and files in the same folder";
            Err(Error::config(path, reason))
        }
    }
}

/// Whether a checkpoint that says how it was quantised is of GPTQ's second version; an error if we cannot read it.
fn is_gptq_v2(config: &Config, path: &str) -> Result<bool> {
    /// Those whose layouts `weights::quantized` has; MLX does not name itself.
    const METHODS: [&str; 7] = [
        "compressed-tensors",
        "gptq",
        "awq",
        "bitsandbytes",
        "fp8",
        "quanto",
        "torchao",
    ];
    let Some(quantization) = config.get("quantization_config") else {
        return Ok(false);
    };
    match quantization.get("quant_method").and_then(Value::as_str) {
        Some(other) if !METHODS.contains(&other) => Err(Error::config(
            path.to_owned(),
            format!(
                "the weights are quantised with {other}, which cannot be read; use a checkpoint in 16 bits or one of {}",
                METHODS.join(", ")
            ),
        )),
        _ => {
            let format = quantization
                .get("checkpoint_format")
                .and_then(Value::as_str);
            Ok(format == Some("gptq_v2"))
        }
    }
}

/// Refuses weights that fit transformed activations only.
fn refuse_transforms(config: &Config, path: &str) -> Result<()> {
    let groups = config.get("quantization_config").and_then(|quantization| {
        quantization
            .get("transform_config")?
            .get("config_groups")?
            .as_object()
    });
    let places = groups.into_iter().flat_map(serde_json::Map::values);
    let mut places = places
        .filter_map(|group| group.get("apply")?.as_array())
        .flatten();
    // Others are in the weights, once and for all.
    let fused = ["weight_input", "weight_output"];
    let online = |place: &Value| {
        let location = place.get("location").and_then(Value::as_str);
        location.is_none_or(|location| !fused.contains(&location))
    };
    if places.any(online) {
        return Err(Error::config(
            path.to_owned(),
            "quantization_config has a transform_config for activations, which only models that Gossamer saved may have; use a checkpoint without it",
        ));
    }
    Ok(())
}

/// A plan in the making.
struct Planner<'a> {
    files: &'a Files,
    layout: Layout,
    /// Those that are made already, by path: routes often share one.
    tokenizers: Vec<(String, Settings, Arc<Tokenizer>)>,
    /// Weight files that are among the small files.
    inline: Vec<usize>,
    /// What a config says of the model, if it was saved by us.
    saved: Option<Marker>,
    /// Of the tokenizers.
    text: Fingerprint,
    /// Vectors that come from JSON.
    tables: Vec<(usize, Vec<f32>)>,
    /// The kind that the caller insists on.
    kind: Option<Kind>,
    /// Whether that makes a difference to how the model is read.
    insists: bool,
    /// What the files say that the model is, besides.
    foreign: Vec<String>,
}

/// A route, and what is to be said of it.
struct Planned {
    route: Route,
    /// Family of its transformer.
    family: &'static str,
    /// That family's template for instructions.
    instruction: Option<&'static str>,
    /// Its modules in words.
    modules: String,
}

/// A transformer without its heads.
struct Draft {
    name: &'static str,
    /// None on the candle road.
    family: Option<&'static Family>,
    /// Its weight file.
    file: usize,
    encoder: AnyEncoder,
    vocab_size: usize,
    hidden_size: usize,
    max_positions: usize,
    /// Whether the head's decoder is the word embeddings where the file has none.
    tied: bool,
}

impl Draft {
    /// The head that SPLADE reads.
    fn mlm_head(&self, layout: &mut Layout) -> Result<MlmHead> {
        let names = self.family.and_then(|family| family.mlm.as_ref());
        match (&self.encoder, names) {
            (AnyEncoder::Native { spec, encoder }, Some(names)) => Ok(layout_builder::mlm_head(
                layout, self.file, spec, names, encoder, self.tied,
            )),
            _ => Err(Error::UnsupportedModel(format!(
                "SPLADE needs a head for masked-language modelling, which the family {} does not have",
                self.name
            ))),
        }
    }
}

impl Planner<'_> {
    /// All routes of a model.
    fn routes(
        &mut self,
        listed: Vec<pipeline::RouteEntries>,
        has_modules: bool,
    ) -> Result<Vec<Planned>> {
        let mut all = Vec::new();
        for route in listed {
            let Some((input, rest)) = route.modules.split_first() else {
                return Err(Error::config(MODULES, "lists no modules"));
            };
            all.push(match input.kind.as_str() {
                "Transformer" | "MLMTransformer" => {
                    let rest = has_modules.then_some(rest);
                    self.transformer(route.name, input, rest)?
                }
                "SparseStaticEmbedding" | "IDF" if rest.is_empty() => {
                    self.table(route.name, input)?
                }
                other => {
                    return Err(Error::UnsupportedModel(format!(
                        "modules.json begins with a module of type {other}, which is not supported there; it must be Transformer, MLMTransformer, or SparseStaticEmbedding by itself"
                    )));
                }
            });
        }
        Ok(all)
    }

    /// A transformer and its heads. `rest` is what modules.json lists after it; where there is no modules.json, it is
    /// what sentence-transformers assumes.
    fn transformer(
        &mut self,
        name: String,
        input: &Entry,
        rest: Option<&[Entry]>,
    ) -> Result<Planned> {
        let path = |name: &str| input.file(name);
        let mut config = Config::parse(&path(CONFIG), self.files.required(&path(CONFIG))?)?;
        // sentence-transformers reads its own file only where there are modules.
        let sentence = if rest.is_some() {
            self.sentence(input)?
        } else {
            Sentence::default()
        };
        config.override_by(&sentence.config)?;
        let marker = Marker::read(&config)?;
        if let Some(kind) = marker.and_then(|marker| marker.kind) {
            self.kind.get_or_insert(kind);
            self.insists = true;
        }
        let modules = if let Some(entries) = rest {
            self.modules(entries)?
        } else {
            let module = assumed(&config, self.kind)?;
            self.insists |= module != assumed(&config, None)?;
            vec![module]
        };
        let has_modules = rest.is_some();
        if !candle::is_candle(&config) {
            families::find(&config)?;
        }
        self.foreign.extend(kind::foreign(&config, has_modules));
        if has_modules {
            check_task(&input.kind, &sentence, &modules, &path(sentence::NAMES[0]))?;
        }
        let draft = self.encoder(input, &config, marker)?;
        let (dense, sparse) = match modules.as_slice() {
            [Module::Splade(splade)] => {
                let mlm = draft.mlm_head(&mut self.layout)?;
                let splade = *splade;
                (None, Some(SparseHead::Splade { mlm, splade }))
            }
            modules => (Some(self.dense_head(draft.hidden_size, modules)?), None),
        };
        let family = draft.family;
        // A part of `spaceId` since the first version, where the last token is the vector.
        let last = match draft.name {
            "qwen3" => "<|endoftext|>",
            "mistral" => "</s>",
            _ => "",
        };
        let pools_last = |head: &DenseHead| head.pooling.contains(&Pooling::LastToken);
        let last = if dense.as_ref().is_some_and(pools_last) {
            last
        } else {
            ""
        };
        let tokenizer = self.tokenizer(input, draft.vocab_size, last, sentence.lowercase)?;
        check_ids(&tokenizer, draft.vocab_size)?;
        let (sparse, colbert) = if dense.is_some() {
            self.m3_heads(input, draft.hidden_size, &tokenizer)?
        } else {
            (sparse, None)
        };
        let max_tokens = match sentence.max_tokens {
            Some(limit) => limit,
            None => self.max_tokens(input)?,
        };
        let max_tokens = max_tokens.min(draft.max_positions);
        if max_tokens <= tokenizer.added() {
            return Err(Error::config(
                path(sentence::NAMES[0]),
                format!("the maximum of {max_tokens} tokens leaves no room for text"),
            ));
        }
        let planned = Planned {
            family: draft.name,
            instruction: family.and_then(|family| family.instruction),
            modules: format!("{modules:?}"),
            route: Route {
                name,
                tokenizer,
                max_tokens,
                body: Body::Transformer(Box::new(Transformer {
                    vocab_size: draft.vocab_size,
                    encoder: draft.encoder,
                    dense,
                    sparse,
                    colbert,
                })),
            },
        };
        Ok(planned)
    }

    /// sentence-transformers' settings of a transformer.
    fn sentence(&self, input: &Entry) -> Result<Sentence> {
        for name in sentence::NAMES {
            if let Some(file) = self.files.config(&input.file(name))? {
                return Sentence::read(&file);
            }
        }
        Ok(Sentence::default())
    }

    /// Modules after a transformer.
    fn modules(&self, entries: &[Entry]) -> Result<Vec<Module>> {
        let modules = entries.iter().map(|entry| {
            let config = self.files.config(&entry.file(CONFIG))?;
            pipeline::module(entry, config.as_ref())
        });
        modules.collect()
    }

    /// The transformer itself, on the road that its family takes.
    fn encoder(&mut self, input: &Entry, config: &Config, marker: Option<Marker>) -> Result<Draft> {
        let draft = self.roads(input, config)?;
        let file = &mut self.layout.files[draft.file];
        file.quantization = Quantization {
            gptq_v2: is_gptq_v2(config, &input.file(CONFIG))?,
            own_grid: marker.is_some(),
        };
        if marker.is_none() {
            refuse_transforms(config, &input.file(CONFIG))?;
        }
        self.saved = self.saved.or(marker);
        Ok(draft)
    }

    /// The transformer, on either road.
    fn roads(&mut self, input: &Entry, config: &Config) -> Result<Draft> {
        let path = input.file(WEIGHTS);
        if candle::is_candle(config) {
            return self.candle(path, config);
        }
        let family = families::find(config)?;
        let spec = (family.spec)(config)?;
        let (file, encoder) = layout_builder::encoder(&mut self.layout, path, &spec, family);
        Ok(Draft {
            name: family.name,
            family: Some(family),
            file,
            vocab_size: spec.vocab_size,
            hidden_size: spec.hidden_size,
            max_positions: spec.max_positions,
            tied: config.flag("tie_word_embeddings", true)?,
            encoder: AnyEncoder::Native {
                spec: Box::new(spec),
                encoder,
            },
        })
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn candle(&mut self, path: String, config: &Config) -> Result<Draft> {
        let candle = candle::Candle::new(config)?;
        let file = self.layout.collected_file(path);
        Ok(Draft {
            name: candle.family,
            family: None,
            file,
            vocab_size: candle.vocab_size,
            hidden_size: candle.hidden_size,
            max_positions: candle.max_positions,
            tied: false,
            encoder: AnyEncoder::Candle {
                file,
                candle: Box::new(candle),
            },
        })
    }

    #[cfg(target_arch = "wasm32")]
    #[expect(clippy::unused_self, reason = "the native build takes the files")]
    fn candle(&mut self, _: String, config: &Config) -> Result<Draft> {
        Err(candle::refuse(config))
    }

    /// BGE-M3's heads, where the files are there.
    fn m3_heads(
        &mut self,
        input: &Entry,
        hidden: usize,
        tokenizer: &Tokenizer,
    ) -> Result<(Option<SparseHead>, Option<Linear>)> {
        let lexical = self.inline_file(input.file(LEXICAL)).map(|(file, _)| {
            let special = ["<s>", "</s>", "<pad>", "<unk>"].into_iter();
            SparseHead::Lexical {
                linear: self
                    .layout
                    .linear(file, "", [1, hidden], true, Precision::Full),
                dropped: special.filter_map(|token| tokenizer.id(token)).collect(),
            }
        });
        let colbert = self
            .inline_file(input.file(COLBERT))
            .map(|(file, path)| -> Result<_> {
                let out = self.rows_of(&path, hidden)?;
                Ok(self
                    .layout
                    .linear(file, "", [out, hidden], true, Precision::Full))
            })
            .transpose()?;
        Ok((lexical, colbert))
    }

    /// Rows of the matrix `weight` in a small weight file: no config has a field for the width of this head.
    fn rows_of(&self, path: &str, default: usize) -> Result<usize> {
        let file = self.files.required(path)?;
        let shape = weights::shape_of(path, file, "weight")?;
        let rows = shape.first().and_then(|rows| usize::try_from(*rows).ok());
        // More than the file has bytes is no shape to take memory for.
        let rows = rows.filter(|rows| (1..=file.len()).contains(rows));
        Ok(rows.unwrap_or(default))
    }

    /// A weight file among the small ones, or its alternative, if the source has it; and its path.
    fn inline_file(&mut self, path: String) -> Option<(usize, String)> {
        let mut paths = weights::alternative(&path).into_iter();
        let mut paths = std::iter::once(path).chain(&mut paths);
        let path = paths.find(|path| self.files.bytes(path).is_some())?;
        let file = self.layout.head_file(path.clone());
        self.inline.push(file);
        Some((file, path))
    }

    /// A table of weights by token: inference-free queries.
    fn table(&mut self, name: String, input: &Entry) -> Result<Planned> {
        let tokenizer = self
            .tokenizer(input, 0, "", false)?
            .without_special_tokens();
        let config = self.files.config(&input.file(CONFIG))?;
        let json = match &config {
            Some(config) => table_files(input, config)?,
            None => Vec::new(),
        };
        let (weights, vocab_size) = match json.iter().find(|name| self.files.bytes(name).is_some())
        {
            Some(path) => {
                let values = read_table(path, self.files.required(path)?, &tokenizer)?;
                let vector = self.layout.add_vector(values.len());
                let size = values.len();
                self.tables.push((vector, values));
                (vector, size)
            }
            None if json.is_empty() => {
                let size = tokenizer.size();
                let file = self.layout.head_file(input.file(WEIGHTS));
                let vector = self.layout.vector(file, &["weight".to_owned()], &[size]);
                (vector, size)
            }
            None => return Err(Error::MissingFile(json.join(" or "))),
        };
        check_ids(&tokenizer, vocab_size)?;
        let route = Route {
            name,
            max_tokens: self.max_tokens(input)?,
            tokenizer: Arc::new(tokenizer),
            body: Body::Table {
                weights,
                vocab_size,
            },
        };
        Ok(Planned {
            route,
            family: "table",
            instruction: None,
            modules: "SparseStaticEmbedding".to_owned(),
        })
    }

    /// The tokenizer of a module whose table of embeddings has so many rows. `last` is hashed with it if it has a
    /// template.
    fn tokenizer(
        &mut self,
        input: &Entry,
        rows: usize,
        last: &str,
        lowercase_text: bool,
    ) -> Result<Arc<Tokenizer>> {
        let path = input.file(TOKENIZER);
        let bytes = self.files.required(&path)?;
        let fields = |name: &str| -> Result<_> {
            let config = self.files.config(&input.file(name))?;
            Ok(config.map(Config::into_fields).unwrap_or_default())
        };
        let (config, model) = (fields(TOKENIZER_CONFIG)?, fields(CONFIG)?);
        let older = |name: &str| {
            if text::lists_tokens(&config) {
                Ok(serde_json::Map::new())
            } else {
                fields(name)
            }
        };
        let text = |field: &str| model.get(field).and_then(Value::as_str).map(str::to_owned);
        let settings = Settings {
            special_tokens: older(SPECIAL_TOKENS)?,
            added_tokens: older(ADDED_TOKENS)?,
            model_type: text("model_type").unwrap_or_default(),
            class: text("tokenizer_class"),
            lowercase_text,
            rows,
            config,
        };
        let known = self.tokenizers.iter().find(|(other, others, _)| {
            *others == settings && self.files.bytes(other) == Some(bytes)
        });
        if let Some((.., tokenizer)) = known {
            return Ok(Arc::clone(tokenizer));
        }
        let tokenizer = Arc::new(Tokenizer::new(bytes, &settings)?);
        self.text.update_bytes(bytes);
        self.text.update_bytes(tokenizer.changes().as_bytes());
        if tokenizer.added() > 0 {
            self.text.update_bytes(last.as_bytes());
        }
        self.tokenizers
            .push((path, settings, Arc::clone(&tokenizer)));
        Ok(tokenizer)
    }

    /// The most tokens by the tokenizer's own file.
    fn max_tokens(&self, input: &Entry) -> Result<usize> {
        let limit = match self.files.config(&input.file(TOKENIZER_CONFIG))? {
            Some(config) => sentence::limit(&config, "model_max_length")?,
            None => None,
        };
        Ok(limit.unwrap_or(usize::MAX))
    }

    /// Reads the modules of a dense model as pooling, steps and a final normalisation.
    fn dense_head(&mut self, hidden: usize, modules: &[Module]) -> Result<DenseHead> {
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
        let mut dimensions = hidden * modes.len();
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
                        return Err(Error::config(format!("{path}/{CONFIG}"), reason));
                    }
                    dimensions = shape[0];
                    let file = self.layout.head_file(format!("{path}/{WEIGHTS}"));
                    let linear = self
                        .layout
                        .linear(file, "linear", *shape, *bias, Precision::Full);
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
}

/// What sentence-transformers takes for the modules of a model without modules.json.
fn assumed(config: &Config, kind: Option<Kind>) -> Result<Module> {
    let architectures = config.get("architectures").and_then(Value::as_array);
    let names = architectures
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let is = |head: &str| names.clone().any(|name| name.ends_with(head));
    let sparse = match kind {
        Some(kind) => kind == Kind::Sparse,
        None => is("ForMaskedLM"),
    };
    Ok(if sparse {
        Module::Splade(Splade {
            strategy: SpladeStrategy::Max,
            activation: SpladeActivation::Log1pRelu,
        })
    } else {
        let last = is("ForCausalLM") && families::is_causal(config)?;
        let mode = if last {
            Pooling::LastToken
        } else {
            Pooling::Mean
        };
        Module::Pooling {
            modes: vec![mode],
            include_prompt: true,
        }
    })
}

/// Refuses a transformer whose output is not what the modules after it take.
fn check_task(kind: &str, sentence: &Sentence, modules: &[Module], file: &str) -> Result<()> {
    let wanted = match modules {
        [Module::Splade(_)] => "fill-mask",
        _ => "feature-extraction",
    };
    let usual = match kind {
        "MLMTransformer" => "fill-mask",
        _ => "feature-extraction",
    };
    let task = sentence.task.as_deref().unwrap_or(usual);
    if task == wanted {
        return Ok(());
    }
    let reason = format!(
        "transformer_task is {task:?}; the modules after the transformer take the output of \"{wanted}\""
    );
    Err(Error::config(file, reason))
}

/// Every id that a tokenizer may give has a row in the model's table.
fn check_ids(tokenizer: &Tokenizer, rows: usize) -> Result<()> {
    let last = tokenizer.last();
    if (last as usize) < rows {
        return Ok(());
    }
    Err(Error::InvalidTokenizer(format!(
        "it has the token id {last}, and the model's embedding table has {rows} rows (vocab_size in config.json); check that both belong to the same model"
    )))
}

/// Token → weight, as JSON, in the order of ids. Tokens that the tokenizer does not have are left out.
fn read_table(path: &str, bytes: &[u8], tokenizer: &Tokenizer) -> Result<Vec<f32>> {
    let table: BTreeMap<String, f32> = serde_json::from_slice(bytes).map_err(|error| {
        Error::config(
            path,
            format!("is not a JSON object of numbers ({error}); download it again"),
        )
    })?;
    let mut weights = vec![0.0; tokenizer.size().min(MOST_ENTRIES)];
    for (token, weight) in table {
        let slot = tokenizer
            .id(&token)
            .and_then(|id| weights.get_mut(id as usize));
        if let Some(slot) = slot {
            if !weight.is_finite() {
                return Err(Error::config(
                    path,
                    format!("{token:?} has no finite weight"),
                ));
            }
            *slot = weight;
        }
    }
    Ok(weights)
}
