//! The model, ready for use: texts in, vectors out, in one go or in the steps of [`crate::model::run`].

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::backend::{Backend, Pooling, WeightDtype};
use crate::error::{Error, Result};
use crate::model::families::config::Config;
use crate::model::load::checkpoint::Stored;
use crate::model::load::kind::Kind;
use crate::model::load::save::Origin;
use crate::model::run::options::{
    ChunkOptions, EncodeOptions, MultiOptions, SparseOptions, TextOptions, TokenHead, TokenOptions,
};
use crate::model::run::outputs::{DenseBatch, Output, OutputDtype, SparseBatch};
use crate::model::run::queue::{Queue, check_input};
use crate::model::run::{Dense, PerToken, Run, Sparse};
use crate::model::transformer::forward::Weights;
use crate::model::transformer::heads::DenseHead;
#[cfg(target_arch = "wasm32")]
use crate::model::transformer::route::Body;
use crate::model::transformer::route::{Road, Route};
use crate::model::transformer::static_table::StaticTable;
use crate::text::tokenizer::Rules;
use crate::text::{Chunk, Chunking, Input, Token};

/// Raised whenever the numbers that a model gives change, so that vectors of two versions are told apart.
const NUMERICS: u32 = 3;

/// Texts that a model wants in front of its inputs, by name.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    /// Name → text.
    pub named: BTreeMap<String, String>,
    /// The one that is used unless the caller says otherwise.
    pub default: Option<String>,
}

impl Prompts {
    /// From `config_sentence_transformers.json`.
    pub(super) fn read(config: &Config) -> Result<Self> {
        let named: BTreeMap<String, Option<String>> = match config.get("prompts") {
            None => BTreeMap::new(),
            Some(prompts) => BTreeMap::deserialize(prompts)
                .map_err(|_| config.wrong("prompts", "an object of strings"))?,
        };
        // A prompt that is null is an empty one.
        let named = named
            .into_iter()
            .map(|(name, text)| (name, text.unwrap_or_default()));
        let named: BTreeMap<String, String> = named.collect();
        let default = config.text("default_prompt_name")?;
        // These two every model has in sentence-transformers, if only as empty ones.
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

    /// The prompt for a task, under one of the names that sentence-transformers looks for.
    fn for_task(&self, task: &str) -> Option<&str> {
        let names: &[&str] = match task {
            "document" => &["document", "passage", "corpus"],
            other => &[other],
        };
        let mut prompts = names.iter().filter_map(|name| self.named.get(*name));
        prompts.next().map(String::as_str)
    }

    /// `template` with `{}` where the instruction goes; the model's own, from a prompt of the form
    /// "Instruct: …\nQuery:", before its family's.
    pub(super) fn instruction_template(&self, family: Option<&str>) -> Option<String> {
        let own = self.named.values().find_map(|prompt| {
            let (_, end) = prompt.strip_prefix("Instruct: ")?.split_once("\nQuery:")?;
            Some(format!("Instruct: {{}}\nQuery:{end}"))
        });
        own.or_else(|| family.map(str::to_owned))
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<_> = names.map(|name| format!("{name:?}")).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// What a loaded model is.
#[derive(Clone, Debug)]
pub struct Info {
    /// Name that the caller gave it.
    pub model: String,
    /// Commit or branch, where known.
    pub revision: Option<String>,
    /// Model family, of the route that is taken unless a task is given.
    pub family: &'static str,
    /// The most tokens of one input, special tokens included.
    pub max_tokens: usize,
    /// How the weights are held.
    pub dtype: WeightDtype,
    /// How matrices were quantised in the model's files, if they were, and what became of them.
    pub stored: Option<Stored>,
    /// The weight files that it was loaded from.
    pub files: Vec<String>,
    /// Whose code runs it.
    pub road: Road,
    /// Parameters that the model uses.
    pub parameters: usize,
    /// Prompts from the model's own files.
    pub prompts: Prompts,
    /// What goes before a text, with `{}` where an instruction goes, for models that take instructions.
    pub instruction_template: Option<String>,
    /// How its vectors are to be compared: `cosine`, `dot`, `euclidean` or `manhattan`.
    pub similarity: String,
    /// The kind that the caller insisted on, if the model would be another one, or refused, without.
    pub kind: Option<Kind>,
    /// What the model's files say of it that is left out for that: classes, code, tensors.
    pub left_out: Vec<String>,
    /// Dimensions that dense vectors have unless the caller says otherwise.
    pub(super) truncate_dim: Option<usize>,
    /// Most entries of a sparse vector unless the caller says otherwise.
    pub(super) max_active_dims: Option<usize>,
    /// The steps after the transformer, for [`Embedder::space_id`].
    pub(super) pipeline: String,
    /// Hash of all weights.
    pub(super) fingerprint: u64,
    /// Hash of the tokenizers.
    pub(super) text: u64,
}

/// A loaded model.
pub struct Embedder<B: Backend> {
    backend: B,
    pub(super) weights: Weights<B>,
    pub(super) routes: Vec<Route>,
    default_route: usize,
    info: Info,
    pub(super) origin: Origin,
}

impl<B: Backend> Embedder<B> {
    pub(super) fn new(
        backend: B,
        weights: Weights<B>,
        routes: Vec<Route>,
        default_route: usize,
        info: Info,
        origin: Origin,
    ) -> Self {
        Self {
            backend,
            weights,
            routes,
            default_route,
            info,
            origin,
        }
    }

    /// What the model is.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The backend that it runs on.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The route that is taken unless a task is given.
    fn default_route(&self) -> &Route {
        &self.routes[self.default_route]
    }

    /// `dense` or `sparse`: what the model is for. A model of kind `dense` may have a sparse head too.
    pub fn kind(&self) -> &'static str {
        if self.default_route().dense().is_some() {
            "dense"
        } else {
            "sparse"
        }
    }

    /// Whether the backend computes anything: a static table is on the CPU.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn uses_backend(&self) -> bool {
        let body = &self.default_route().body;
        !matches!(body, Body::Static(embedding) if embedding.head.steps.is_empty())
    }

    /// The kinds of vectors that it gives, of `dense`, `sparse`, `tokens` and `colbert`.
    pub fn outputs(&self) -> Vec<&'static str> {
        let route = self.default_route();
        let dense = route.dense().is_some();
        let colbert = route.token_head() == TokenHead::Colbert;
        [
            ("dense", dense),
            ("sparse", route.is_sparse()),
            ("tokens", route.gives_tokens()),
            ("colbert", colbert),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }

    /// Names of the routes of a model with a router.
    pub fn tasks(&self) -> Vec<&str> {
        let names = self.routes.iter().map(|route| route.name.as_str());
        names.filter(|name| !name.is_empty()).collect()
    }

    /// Width of a vector: for sparse models, entries of the vocabulary.
    pub fn dimensions(&self) -> usize {
        let route = self.default_route();
        let width = |head: &DenseHead| self.usual_dimensions(head);
        route.dense().map_or_else(|| route.vocab_size(), width)
    }

    /// Width of a dense vector unless the caller says otherwise.
    fn usual_dimensions(&self, head: &DenseHead) -> usize {
        let most = self.info.truncate_dim.unwrap_or(usize::MAX);
        head.dimensions.min(most)
    }

    /// Whether vectors have length 1 unless the caller says otherwise.
    pub fn normalized(&self) -> bool {
        self.default_route()
            .dense()
            .is_some_and(|head| head.normalize)
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        let matrices = self
            .weights
            .matrices
            .iter()
            .flatten()
            .map(|matrix| self.backend.bytes(matrix));
        let vectors = self
            .weights
            .vectors
            .iter()
            .map(|vector| size_of_val(vector.as_slice()));
        let tables = self.weights.tables.iter().map(StaticTable::bytes);
        matrices.chain(vectors).chain(tables).sum()
    }

    /// Names the space that the model's vectors live in: equal for equal weights, tokenizer, dtype and pipeline, wherever they
    /// were loaded from.
    pub fn space_id(&self) -> String {
        let info = &self.info;
        let mut text = format!(
            "{NUMERICS} {:016x} {:016x} {} {} {:?} {:?} {}",
            info.fingerprint,
            info.text,
            info.dtype.name(),
            info.pipeline,
            info.prompts.default,
            info.prompts.named,
            info.max_tokens
        );
        for (name, value) in [
            (" truncate_dim ", info.truncate_dim),
            (" max_active_dims ", info.max_active_dims),
        ] {
            if let Some(value) = value {
                text += name;
                text += &value.to_string();
            }
        }
        if let Some(kind) = info.kind {
            text += " as ";
            text += kind.name();
        }
        let digest = Sha256::digest(text);
        let (first, _) = digest.as_chunks::<16>();
        format!("{:032x}", u128::from_be_bytes(first[0]))
    }

    /// Tokens of a text, for people to look at.
    pub fn tokenize(&self, text: &str, add_special_tokens: bool) -> Result<Vec<Token>> {
        self.default_route()
            .tokenizer
            .describe(text, add_special_tokens)
    }

    /// How the default route makes a dense vector of tokens' states; none: it makes sparse ones.
    pub(crate) fn pooling(&self) -> Option<&[Pooling]> {
        let head = self.default_route().dense()?;
        Some(&head.pooling)
    }

    /// Refuses inputs whose tokens' vectors would have more than `limit` numbers.
    pub(crate) fn check_size(
        &self,
        inputs: &[Input],
        options: &TokenOptions,
        limit: usize,
    ) -> Result<()> {
        let route = &self.routes[self.route(options.task.as_deref())?];
        let prompt = &self.prompt(options.text())?;
        let dimensions = self.dimensions();
        // Only as many as fit are tokenised for this, so it takes no time to speak of.
        let mut tokens = 0;
        for (index, input) in inputs.iter().enumerate() {
            let rules = Rules {
                prompt,
                skip_prompt: false,
                limit: route.max_tokens,
                truncate: options.truncate.unwrap_or(true),
                direction: options.truncation_direction,
            };
            check_input(index, route, input, rules)?;
            tokens += route.tokenizer.tokens(index, input, rules)?.ids.len();
            if tokens.saturating_mul(dimensions) > limit {
                return Err(Error::AnswerTooLarge {
                    inputs: index + 1,
                    tokens,
                    dimensions,
                    limit,
                });
            }
        }
        Ok(())
    }

    /// The text of some tokens.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        let tokenizer = &self.default_route().tokenizer;
        match ids.iter().find(|id| tokenizer.entry(**id).is_none()) {
            Some(id) => Err(Error::TokenOutOfRange {
                id: u64::from(*id),
                size: tokenizer.size(),
            }),
            None => tokenizer.decode(ids, skip_special_tokens),
        }
    }

    /// Embeds densely, in one go.
    pub fn encode(&self, inputs: Vec<Input>, options: &EncodeOptions) -> Result<DenseBatch> {
        Ok(self.all(self.start(inputs, options)?)?.into_dense())
    }

    /// Embeds sparsely, in one go.
    pub fn encode_sparse(
        &self,
        inputs: Vec<Input>,
        options: &SparseOptions,
    ) -> Result<SparseBatch> {
        Ok(self.all(self.start_sparse(inputs, options)?)?.into_sparse())
    }

    /// Embeds each token, in one go.
    pub fn encode_tokens(&self, inputs: Vec<Input>, options: &TokenOptions) -> Result<Output> {
        self.all(self.start_tokens(inputs, options)?)
    }

    /// Gives several kinds of vectors, in one go.
    pub fn encode_multi(&self, inputs: Vec<Input>, options: &MultiOptions) -> Result<Output> {
        self.all(self.start_multi(inputs, options)?)
    }

    /// Cuts texts in chunks and embeds these densely, in one go.
    pub fn encode_chunks(
        &self,
        texts: Vec<Input>,
        chunks: ChunkOptions,
        options: &EncodeOptions,
    ) -> Result<Output> {
        self.all(self.start_chunks(texts, chunks, options)?)
    }

    /// Cuts a text in chunks, as [`Self::encode_chunks`] does with these options.
    pub fn chunk(
        &self,
        text: &str,
        chunks: ChunkOptions,
        options: &EncodeOptions,
    ) -> Result<Vec<Chunk>> {
        let route = &self.routes[self.route(options.task.as_deref())?];
        let rules = Rules {
            prompt: &self.prompt(options.text())?,
            skip_prompt: false,
            limit: route.max_tokens,
            truncate: true,
            direction: options.truncation_direction,
        };
        let chunks = route
            .tokenizer
            .chunks(0, text, rules, chunking(route, chunks))?;
        Ok(chunks.into_iter().map(|(chunk, _)| chunk).collect())
    }

    pub(super) fn all(&self, mut run: Run) -> Result<Output> {
        while !run.step(self)? {}
        Ok(run.finish())
    }

    /// Embeds densely, step by step.
    pub fn start(&self, inputs: Vec<Input>, options: &EncodeOptions) -> Result<Run> {
        let route = self.route(options.task.as_deref())?;
        let output = options.output;
        let dense = self.dense(route, options.normalize, options.dimensions, output)?;
        self.run(inputs, route, options.text(), (Some(dense), None, None))
    }

    /// Cuts texts in chunks and embeds these densely, step by step.
    pub fn start_chunks(
        &self,
        texts: Vec<Input>,
        chunks: ChunkOptions,
        options: &EncodeOptions,
    ) -> Result<Run> {
        let mut run = self.start(texts, options)?;
        let route = &self.routes[run.route()];
        let pooling = route.dense().map(|head| head.pooling.as_slice());
        if chunks.late && pooling != Some(&[Pooling::Mean]) {
            return Err(Error::input(
                "late",
                "late chunking takes the mean of each chunk's tokens, and this model's pooling is another one; leave `late` out, or take a model with mean pooling",
            ));
        }
        run.cut(chunking(route, chunks));
        Ok(run)
    }

    /// Embeds sparsely, step by step.
    pub fn start_sparse(&self, inputs: Vec<Input>, options: &SparseOptions) -> Result<Run> {
        let route = self.route(options.task.as_deref())?;
        let sparse = self.sparse(route, options.top_k, options.threshold, options.labels)?;
        self.run(inputs, route, options.text(), (None, Some(sparse), None))
    }

    /// Embeds each token, step by step.
    pub fn start_tokens(&self, inputs: Vec<Input>, options: &TokenOptions) -> Result<Run> {
        let route = self.route(options.task.as_deref())?;
        let per_token = self.per_token(route, options.head, options.normalize)?;
        self.run(inputs, route, options.text(), (None, None, Some(per_token)))
    }

    /// Gives several kinds of vectors, step by step, from one forward pass.
    pub fn start_multi(&self, inputs: Vec<Input>, options: &MultiOptions) -> Result<Run> {
        if !(options.dense || options.sparse || options.tokens) {
            return Err(Error::input(
                "options",
                "nothing is asked for: set at least one of dense, sparse and tokens",
            ));
        }
        let route = self.route(options.task.as_deref())?;
        let float = OutputDtype::Float;
        let dense = || self.dense(route, options.normalize, options.dimensions, float);
        let sparse = || self.sparse(route, options.top_k, options.threshold, options.labels);
        let per_token = || self.per_token(route, None, None);
        let wanted = (
            options.dense.then(dense).transpose()?,
            options.sparse.then(sparse).transpose()?,
            options.tokens.then(per_token).transpose()?,
        );
        self.run(inputs, route, options.text(), wanted)
    }

    fn run(
        &self,
        inputs: Vec<Input>,
        route: usize,
        options: TextOptions,
        (dense, sparse, per_token): (Option<Dense>, Option<Sparse>, Option<PerToken>),
    ) -> Result<Run> {
        let prompt = self.prompt(options)?;
        let skip = self.routes[route]
            .dense()
            .is_some_and(|head| !head.include_prompt);
        let queue = Queue::new(inputs, prompt, skip, options)?;
        Ok(Run::new(queue, route, dense, sparse, per_token))
    }

    /// Index of the route for a task.
    fn route(&self, task: Option<&str>) -> Result<usize> {
        let Some(task) = task else {
            return Ok(self.default_route);
        };
        if let Some(index) = self.routes.iter().position(|route| route.name == task) {
            return Ok(index);
        }
        let tasks = self.tasks();
        if tasks.is_empty() && matches!(task, "query" | "document") {
            return Ok(self.default_route);
        }
        let known = if tasks.is_empty() {
            "query, document".to_owned()
        } else {
            tasks.join(", ")
        };
        Err(Error::input(
            "task",
            format!("task is {task:?}; this model has: {known}"),
        ))
    }

    fn dense(
        &self,
        route: usize,
        normalize: Option<bool>,
        dimensions: Option<u64>,
        output: OutputDtype,
    ) -> Result<Dense> {
        let head = self.routes[route].dense().ok_or_else(|| {
            self.wrong_kind("ask it for sparse vectors (encodeSparse, embedSparse)")
        })?;
        let dimensions = match dimensions {
            None => self.usual_dimensions(head),
            Some(got) => usize::try_from(got)
                .ok()
                .filter(|got| (1..=head.dimensions).contains(got))
                .ok_or(Error::InvalidDimensions {
                    got,
                    limit: head.dimensions,
                })?,
        };
        Ok(Dense {
            dimensions,
            normalize: normalize.unwrap_or(head.normalize),
            output,
        })
    }

    fn sparse(
        &self,
        route: usize,
        top_k: Option<usize>,
        threshold: f32,
        labels: bool,
    ) -> Result<Sparse> {
        if !self.routes[route].is_sparse() {
            return Err(self.wrong_kind(
                "ask it for dense vectors (encode, embeddings.create), or load a SPLADE model",
            ));
        }
        if !threshold.is_finite() || threshold < 0.0 {
            return Err(Error::input(
                "threshold",
                "threshold must be a number of 0 or more",
            ));
        }
        Ok(Sparse {
            top_k: top_k.or(self.info.max_active_dims),
            threshold,
            labels,
        })
    }

    fn per_token(
        &self,
        route: usize,
        head: Option<TokenHead>,
        normalize: Option<bool>,
    ) -> Result<PerToken> {
        let route = &self.routes[route];
        if route.dense().is_none() {
            return Err(self.wrong_kind(
                "ask it for sparse vectors (encodeSparse, embedSparse), or load a dense model for vectors of tokens",
            ));
        }
        if !route.gives_tokens() {
            return Err(self.wrong_kind(
                "its vectors are means of static ones, and it has none of tokens in their context: ask it for dense vectors (encode), or load a model with a transformer",
            ));
        }
        let own = route.token_head();
        let head = head.unwrap_or(own);
        if head == TokenHead::Colbert && own != TokenHead::Colbert {
            return Err(Error::input(
                "head",
                "this model has no head for late interaction (no colbert_linear file beside its weights); ask for head \"states\"",
            ));
        }
        Ok(PerToken {
            head,
            normalize: normalize.unwrap_or(head == TokenHead::Colbert),
        })
    }

    fn wrong_kind(&self, advice: &'static str) -> Error {
        Error::WrongModelKind {
            model: self.info.model.clone(),
            kind: self.kind(),
            advice,
        }
    }

    /// What goes in front of the texts.
    fn prompt(&self, options: TextOptions) -> Result<String> {
        let prompts = &self.info.prompts;
        if let Some(text) = options.prompt {
            return Ok(text.to_owned());
        }
        if let Some(instruction) = options.instruction {
            let template = self.info.instruction_template.as_deref().ok_or_else(|| {
                let known = quoted(prompts.named.keys());
                Error::input(
                    "instruction",
                    format!("this model takes no instructions; use prompt, or promptName with one of: {known}"),
                )
            })?;
            return Ok(template.replacen("{}", instruction, 1));
        }
        if let Some(name) = options.prompt_name {
            return prompts.find(name).map(str::to_owned);
        }
        if let Some(prompt) = options.task.and_then(|task| prompts.for_task(task)) {
            return Ok(prompt.to_owned());
        }
        match prompts.default.as_deref() {
            Some(name) => prompts.find(name).map(str::to_owned),
            None => Ok(String::new()),
        }
    }
}

fn chunking(route: &Route, options: ChunkOptions) -> Chunking {
    Chunking {
        size: options.size.unwrap_or(route.max_tokens),
        overlap: options.overlap,
        late: options.late,
    }
}
