//! text-embeddings-inference (1.9): `/rerank`, `/predict`, `/embed`, `/embed_sparse`, `/embed_all`,
//! `/similarity`, `/tokenize`, `/decode`, `/info`, the probes, and `/v1/embeddings` with its own
//! errors. A response is a list with one element per input, even for a single input.
//!
//! `truncate` is false by default, as Trieve documents it: a text that is too long is an error.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Access, Call, Fields, Format, Route, Server, model_field, openai, ranking};
use crate::api::http::message::{Dialect, MAX_REQUESTS, Response};
#[cfg(test)]
use crate::api::http::openapi::Document;
use crate::api::http::problem::{Cause, Problem};
use crate::api::json::{self, Body, Field};
use crate::api::{MAX_INPUTS, Pending, Work, check_filled, dense_options, shown, to_json, vectors};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::run::options::{EncodeOptions, ScoreOptions, SparseOptions, TokenOptions};
use crate::model::run::outputs::{ScoreBatch, TokenVectors};
use crate::model::transformer::classifier::ScoreActivation;
use crate::model::transformer::heads::TokenHead;
use crate::text::{Input, Token};

/// The most numbers in a response of `/embed_all`: about 25 MB of JSON.
const MAX_NUMBERS: usize = 1 << 21;

pub(super) const fn format<B: Backend + 'static>() -> Format<B> {
    Format {
        routes: const {
            &[
                Route::post("/embed", dense).gives("dense"),
                Route::post("/embed_sparse", sparse).gives("sparse"),
                Route::post("/embed_all", all).gives("tokens"),
                Route::post("/similarity", similarity).gives("dense"),
                Route::post("/rerank", rerank).gives("scores"),
                Route::post("/predict", predict).gives("scores"),
                Route::post("/tokenize", tokenize),
                Route::post("/decode", decode),
                Route::post("/", root),
                Route::post("/v1/embeddings", embeddings)
                    .gives("dense")
                    .when(|ask| matches!(ask.dialect, Dialect::Tei)),
                Route::post("/embeddings", embeddings)
                    .gives("dense")
                    .when(|ask| matches!(ask.dialect, Dialect::Tei)),
                Route::get("/info", info),
                Route::head("/", Access::Open, health),
                Route::head("/health", Access::Open, health),
                Route::head("/ping", Access::Open, health),
                Route::head("/metrics", Access::Key, metrics),
            ]
        },
        fields: Fields {
            lists: &["inputs", "texts", "ids", "sentences", "parameters"],
            scalars: &[
                "source_sentence",
                "query",
                "raw_scores",
                "return_text",
                "normalize",
                "dimensions",
                "prompt_name",
                "truncate",
                "truncation_direction",
                "truncate_direction",
                "add_special_tokens",
                "skip_special_tokens",
            ],
        },
        model: model_field,
        key_header: None,
        tell,
        #[cfg(test)]
        document: describe,
    }
}

/// Reads texts or token ids. `filled`: an empty one is an error, as on the wire.
fn inputs(body: &mut Body, filled: bool) -> Result<Vec<Input>> {
    let inputs = body.take("inputs").inputs("inputs")?;
    if filled {
        check_filled("inputs", &inputs)?;
    }
    Ok(inputs)
}

/// An entry of a sparse vector.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SparseValue {
    index: u32,
    value: f32,
}

/// `/embed`: `{ inputs, … }` → dense vectors.
fn dense<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    let mut body = call.body;
    let inputs = inputs(&mut body, true)?;
    let options = dense_options(&mut body)?;
    let run = embedder.start(inputs, &options)?;
    Ok(Work::running(Pending::new(run, vectors)))
}

fn sparse<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    start_sparse(embedder, call.body, true).map(Work::running)
}

fn all<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    start_all(embedder, call.body, true).map(Work::running)
}

/// `/v1/embeddings`. Unknown fields are ignored, as by text-embeddings-inference.
fn embeddings<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    openai::start(embedder, call.body, false).map(Work::running)
}

/// `/`: the kind of output that the model gives, or with `{ source_sentence, sentences }` their
/// similarity.
fn root<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    match call.body.get("inputs") {
        _ if embedder.kind() == "reranker" && call.body.has("query") => rerank(embedder, call),
        _ if embedder.kind() == "reranker" => predict(embedder, call),
        Field::Object(_) => similarity(embedder, call),
        _ if embedder.kind() == "sparse" => sparse(embedder, call),
        _ => dense(embedder, call),
    }
}

/// `/embed_sparse`: `{ inputs, … }` → entries of sparse vectors. `filled`: an empty text is an
/// error, as on the wire.
pub fn start_sparse<B: Backend>(
    embedder: &Embedder<B>,
    mut body: Body,
    filled: bool,
) -> Result<Pending<Vec<Vec<SparseValue>>>> {
    let inputs = inputs(&mut body, filled)?;
    let options = SparseOptions {
        prompt_name: body.text("prompt_name")?,
        truncate: Some(body.flag("truncate")?.unwrap_or(false)),
        truncation_direction: body.direction()?,
        ..SparseOptions::default()
    };
    let run = embedder.start_sparse(inputs, &options)?;
    Ok(Pending::new(run, |output| {
        let vectors = output.into_sparse().vectors.into_iter();
        let entries = |(index, value)| SparseValue { index, value };
        vectors
            .map(|vector| {
                let pairs = vector.indices.into_iter().zip(vector.values);
                pairs.map(entries).collect()
            })
            .collect()
    }))
}

/// `/embed_all`: `{ inputs, … }` → the hidden states of each input's tokens, not normalised. For a
/// model for late interaction, its token vectors; `prompt_name` says whether the inputs are a
/// `query` or a `document`. `filled`: an empty text is an error, as on the wire.
pub fn start_all<B: Backend>(
    embedder: &Embedder<B>,
    mut body: Body,
    filled: bool,
) -> Result<Pending<Vec<Vec<Vec<f32>>>>> {
    let inputs = inputs(&mut body, filled)?;
    let name = body.text("prompt_name")?;
    let (head, prompt_name, task) = if embedder.is_late() {
        if name.is_none() {
            let reason = "this model reads queries and documents in different ways; set prompt_name to \"query\" or \"document\"";
            return Err(Error::input("prompt_name", reason));
        }
        (None, None, name)
    } else {
        (Some(TokenHead::States), name, None)
    };
    let options = TokenOptions {
        head,
        prompt_name,
        task,
        truncate: Some(body.flag("truncate")?.unwrap_or(false)),
        truncation_direction: body.direction()?,
        ..TokenOptions::default()
    };
    embedder.check_size(&inputs, &options, MAX_NUMBERS)?;
    let run = embedder.start_tokens(inputs, &options)?;
    let states = |tokens: TokenVectors| {
        let rows = tokens.data.chunks_exact(tokens.dimensions.max(1));
        rows.map(<[f32]>::to_vec).collect()
    };
    Ok(Pending::new(run, move |output| {
        let all = output.token_vectors.into_iter().flatten();
        all.map(states).collect()
    }))
}

/// `/similarity`: `{ inputs: { source_sentence, sentences }, parameters? }` → the cosine
/// similarities of `source_sentence` to each of `sentences`.
fn similarity<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    let mut body = call.body;
    let missing = || {
        let reason = "inputs must be an object: { source_sentence, sentences }";
        Error::input("inputs", reason)
    };
    let mut inputs = body.object("inputs")?.ok_or_else(missing)?;
    let sentences = inputs.texts("sentences")?;
    check_filled("sentences", &sentences)?;
    let source = inputs.text("source_sentence")?.ok_or_else(missing)?;
    let source = [Input::Text(source)];
    check_filled("source_sentence", &source)?;
    let options = dense_options(&mut body.object("parameters")?.unwrap_or_default())?;
    let options = EncodeOptions {
        normalize: Some(true),
        ..options
    };
    let texts = source.into_iter().chain(sentences);
    let run = embedder.start(texts.collect(), &options)?;
    Ok(Work::running(Pending::new(run, |output| {
        let all = vectors(output);
        let cosine = |other: &Vec<f32>| all[0].iter().zip(other).map(|(a, b)| a * b).sum();
        all[1..].iter().map(cosine).collect::<Vec<f32>>()
    })))
}

/// An element of the response of `/rerank`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Rank {
    /// The text's index in the request.
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    score: f32,
}

/// `/rerank`: `{ query, texts, raw_scores?, return_text?, … }` → the texts by their scores, the
/// best first.
fn rerank<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    let mut body = call.body;
    let texts = body.strings("texts")?;
    if texts.is_empty() {
        let reason = "texts is an empty list: pass at least one text";
        return Err(Error::EmptyInput(reason.to_owned()));
    }
    let query = ranking::query(&mut body)?;
    let return_text = body.flag("return_text")?.unwrap_or(false);
    let mut kept = if return_text {
        texts.clone()
    } else {
        Vec::new()
    };
    let options = score_options(embedder, &mut body)?;
    let run = embedder.start_rerank(&query, texts, &options)?;
    Ok(Work::running(Pending::new(run, move |output| {
        let ranked = output.into_scores().ranked(None).into_iter();
        let ranks = ranked.map(|ranked| Rank {
            index: ranked.index,
            text: kept.get_mut(ranked.index).map(std::mem::take),
            score: ranked.score,
        });
        ranks.collect::<Vec<_>>()
    })))
}

/// An element of the response of `/predict`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Prediction {
    score: f32,
    label: String,
}

/// The response of `/predict`: the predictions of one input, or of several. The best label is
/// first.
#[derive(Serialize)]
#[serde(untagged)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum Predictions {
    One(Vec<Prediction>),
    Several(Vec<Vec<Prediction>>),
}

/// `/predict`: `{ inputs, raw_scores?, … }` → the score of each label.
fn predict<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    let mut body = call.body;
    let (inputs, one) = sequences(body.take("inputs"))?;
    let options = score_options(embedder, &mut body)?;
    let run = embedder.start_scores(inputs, &options)?;
    let labels = embedder.labels().to_vec();
    Ok(Work::running(Pending::new(run, move |output| {
        let batch = output.into_scores();
        let predictions = |scores: &[f32]| {
            let labelled = ScoreBatch {
                scores: scores.to_vec(),
                labels: 1,
                ..ScoreBatch::default()
            };
            let ranked = labelled.ranked(None).into_iter();
            let predictions = ranked.map(|ranked| Prediction {
                score: ranked.score,
                label: labels[ranked.index].clone(),
            });
            predictions.collect()
        };
        let rows = batch.scores.chunks_exact(batch.labels.max(1));
        let mut all: Vec<Vec<Prediction>> = rows.map(predictions).collect();
        if one {
            Predictions::One(all.pop().unwrap_or_default())
        } else {
            Predictions::Several(all)
        }
    })))
}

/// Reads the inputs of `/predict`: `a | [a] | [a, b]` is one text or one pair, `[[a], [a, b]]` are
/// several. Also returns whether it is one.
fn sequences(inputs: Field) -> Result<(Vec<Input>, bool)> {
    const SHAPES: &str = "pass a text, a pair of texts as [a, b], or several as [[a], [a, b]]";
    let wrong = |place: &str| {
        let reason = format!("inputs{place} is neither a text nor a pair of texts; {SHAPES}");
        Error::input("inputs", reason)
    };
    let sequence = |items: Vec<Field>, count: usize, place: &str| {
        if count > 2 {
            let reason = format!("inputs{place} has {count} texts, which is no pair; {SHAPES}");
            return Err(Error::input("inputs", reason));
        }
        let mut texts = items.into_iter().map(|item| match item {
            Field::Text(text) => Ok(text),
            _ => Err(wrong(place)),
        });
        let first = texts.next().ok_or_else(|| wrong(place))??;
        Ok(match texts.next().transpose()? {
            Some(second) => Input::Pair(first, second),
            None => Input::Text(first),
        })
    };
    let (inputs, one) = match inputs {
        Field::Text(text) => (vec![Input::Text(text)], true),
        Field::List(_, 0) => (Vec::new(), false),
        Field::List(items, count) if matches!(items.first(), Some(Field::Text(_))) => {
            (vec![sequence(items, count, "")?], true)
        }
        Field::List(items, count) => {
            let items = json::all(items, count)?.into_iter().enumerate();
            let read = |(index, item)| {
                let place = format!("[{index}]");
                match item {
                    Field::List(items, count) => sequence(items, count, &place),
                    _ => Err(wrong(&place)),
                }
            };
            (items.map(read).collect::<Result<_>>()?, false)
        }
        _ => return Err(wrong("")),
    };
    check_filled("inputs", &inputs)?;
    Ok((inputs, one))
}

/// Reads the options of scores. Unless raw scores are asked for, a single label has a sigmoid, and
/// several have a softmax.
fn score_options<B: Backend>(embedder: &Embedder<B>, body: &mut Body) -> Result<ScoreOptions> {
    let is_raw = body.flag("raw_scores")?.unwrap_or(false);
    let activation = if is_raw || embedder.is_late() {
        ScoreActivation::Identity
    } else if embedder.labels().len() == 1 {
        ScoreActivation::Sigmoid
    } else {
        ScoreActivation::Softmax
    };
    Ok(ScoreOptions {
        activation: Some(activation),
        truncate: Some(body.flag("truncate")?.unwrap_or(false)),
        truncation_direction: body.direction()?,
        ..ScoreOptions::default()
    })
}

/// `/tokenize`: `{ inputs, add_special_tokens?, prompt_name? }` → the tokens of each text, each
/// with its slice of the text.
fn tokenize<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    let mut body = call.body;
    let inputs = inputs(&mut body, true)?;
    let special = body.flag("add_special_tokens")?.unwrap_or(true);
    let prompt = match &body.text("prompt_name")? {
        Some(name) => embedder.info().prompts.find(name)?,
        None => "",
    };
    let tokens = |input| match input {
        Input::Text(text) => {
            let text = [prompt, &text].concat();
            let mut tokens = embedder.tokenize(&text, special)?;
            for token in &mut tokens {
                let place = token.start.zip(token.stop);
                if let Some(slice) = place.and_then(|(start, stop)| text.get(start..stop)) {
                    slice.clone_into(&mut token.text);
                }
            }
            Ok(tokens)
        }
        Input::Ids(_) | Input::Pair(..) => Err(Error::input(
            "inputs",
            "token ids cannot be tokenised; pass a string or a list of strings",
        )),
    };
    let tokens: Vec<Vec<Token>> = inputs.into_iter().map(tokens).collect::<Result<_>>()?;
    Ok(Work::ready(&tokens))
}

/// `/decode`: `{ ids, skip_special_tokens? }` → texts.
fn decode<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    let mut body = call.body;
    let lists = body.take("ids").inputs("ids")?;
    check_filled("ids", &lists)?;
    let skip = body.flag("skip_special_tokens")?.unwrap_or(true);
    let decode = |input| match input {
        Input::Ids(ids) => embedder.decode(&ids, skip),
        Input::Text(_) | Input::Pair(..) => Err(Error::input(
            "ids",
            "ids holds a text; pass a list of token ids or a list of such lists",
        )),
    };
    let texts: Vec<String> = lists.into_iter().map(decode).collect::<Result<_>>()?;
    Ok(Work::ready(&texts))
}

/// The response of `GET /info`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Info<'a> {
    model_id: &'a str,
    model_sha: Option<&'a str>,
    model_dtype: &'static str,
    served_model_name: &'a str,
    model_type: ModelType,
    max_concurrent_requests: usize,
    max_input_length: usize,
    max_batch_tokens: usize,
    max_batch_requests: Option<usize>,
    max_client_batch_size: usize,
    auto_truncate: bool,
    tokenization_workers: usize,
    version: &'static str,
    sha: Option<&'static str>,
    docker_label: Option<&'static str>,
}

/// What the model is for.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum ModelType {
    Embedding(EmbeddingType),
    /// It has one label.
    Reranker(Labels),
    /// It has several labels.
    Classifier(Labels),
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Labels {
    #[cfg_attr(test, schemars(with = "std::collections::BTreeMap<String, String>"))]
    id2label: Map<String, Value>,
    #[cfg_attr(test, schemars(with = "std::collections::BTreeMap<String, usize>"))]
    label2id: Map<String, Value>,
}

impl Labels {
    fn new(labels: &[String]) -> Self {
        let (mut id2label, mut label2id) = (Map::new(), Map::new());
        for (id, label) in labels.iter().enumerate() {
            id2label.insert(id.to_string(), label.as_str().into());
            label2id.insert(label.clone(), id.into());
        }
        Self { id2label, label2id }
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct EmbeddingType {
    /// How hidden states of tokens become a vector.
    pooling: &'static str,
}

/// `GET /info`
#[expect(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "all handlers have this type"
)]
fn info<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    let info = embedder.info();
    let name = shown(&info.model);
    let pooling = match embedder.pooling() {
        None => "splade",
        Some([one]) => one.mode().tei,
        Some(_) => "several",
    };
    Ok(Work::ready(&Info {
        model_id: name,
        model_sha: info.revision.as_deref(),
        model_dtype: info.dtype.name(),
        served_model_name: name,
        model_type: match embedder.labels() {
            [] => ModelType::Embedding(EmbeddingType { pooling }),
            labels @ [_] => ModelType::Reranker(Labels::new(labels)),
            labels => ModelType::Classifier(Labels::new(labels)),
        },
        max_concurrent_requests: call.options.max_requests.unwrap_or(MAX_REQUESTS),
        max_input_length: info.max_tokens,
        max_batch_tokens: embedder.backend().pass_tokens(),
        max_batch_requests: None,
        max_client_batch_size: MAX_INPUTS,
        auto_truncate: false,
        tokenization_workers: 1,
        version: env!("CARGO_PKG_VERSION"),
        sha: None,
        docker_label: None,
    }))
}

/// `GET /health`, `/ping` and `/`: a liveness probe. The server works if it answers.
#[expect(clippy::unnecessary_wraps, reason = "all handlers have this type")]
fn health(_: &Server) -> Option<Result<Response, Problem>> {
    Some(Ok(Response::empty(200)))
}

/// `GET /metrics`
#[expect(clippy::unnecessary_wraps, reason = "all handlers have this type")]
fn metrics(server: &Server) -> Option<Result<Response, Problem>> {
    let mut response = Response::empty(200);
    let kind = "text/plain; version=0.0.4".to_owned();
    response.headers.insert("content-type", kind);
    response.body = format!(
        "# HELP te_queue_size Requests that are under way\n# TYPE te_queue_size gauge\nte_queue_size {}\n",
        server.options.under_way
    );
    Some(Ok(response))
}

/// The body of an error.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "TeiBody"))]
struct ErrorBody<'a> {
    /// What is wrong, and what to do.
    error: &'a str,
    error_type: &'a str,
}

fn tell(problem: &Problem) -> (u16, String) {
    let (status, error_type) = match problem.cause {
        Cause::Malformed => (400, "validation"),
        Cause::Empty => (400, "empty"),
        Cause::Unauthenticated => (401, "unauthenticated"),
        Cause::NotFound | Cause::UnknownModel => (404, "not_found"),
        Cause::Method => (405, "method"),
        Cause::TimedOut => (408, "timeout"),
        Cause::TooManyInputs | Cause::TooLarge => (413, "validation"),
        Cause::Encoding => (415, "validation"),
        Cause::Invalid => (422, "validation"),
        Cause::NotSupported | Cause::Internal => (424, "backend"),
        Cause::Overloaded => (429, "overloaded"),
        Cause::Unavailable => (503, "unhealthy"),
    };
    let error = &problem.message;
    (status, to_json(&ErrorBody { error, error_type }))
}

#[cfg(test)]
fn describe(doc: &mut Document) {
    use schema::{
        DecodeRequest, EmbedDenseRequest, EmbedRequest, PredictRequest, RerankRequest,
        SimilarityRequest, TokenizeRequest,
    };
    type Dense = Vec<Vec<f32>>;
    type Sparse = Vec<Vec<SparseValue>>;

    doc.errors::<ErrorBody>(tell);
    openai::describe_embeddings(doc);
    let summary = "Dense vectors (text-embeddings-inference)";
    doc.post::<EmbedDenseRequest, Dense>("/embed", "embed", summary);
    let summary = "Sparse vectors (text-embeddings-inference, Trieve)";
    doc.post::<EmbedRequest, Sparse>("/embed_sparse", "embedSparse", summary);
    let summary = "A vector for each token";
    doc.post::<EmbedRequest, Vec<Dense>>("/embed_all", "embedAll", summary);
    let summary = "The cosine similarities of a sentence to others";
    doc.post::<SimilarityRequest, Vec<f32>>("/similarity", "similarity", summary);
    let summary = "Texts by their relevance to a query (text-embeddings-inference)";
    doc.post::<RerankRequest, Vec<Rank>>("/rerank", "rerank", summary);
    let summary = "The scores of the labels of texts or pairs of texts";
    doc.post::<PredictRequest, Predictions>("/predict", "predict", summary);
    let summary = "The tokens of texts";
    doc.post::<TokenizeRequest, Vec<Vec<Token>>>("/tokenize", "tokenize", summary);
    let summary = "The texts of token ids";
    doc.post::<DecodeRequest, Vec<String>>("/decode", "decode", summary);
    let summary = "The kind of output that the model gives (text-embeddings-inference)";
    doc.post::<RerankRequest, Vec<Rank>>("/", "embedRoot", summary);
    doc.post::<PredictRequest, Predictions>("/", "embedRoot", summary);
    doc.post::<EmbedDenseRequest, Dense>("/", "embedRoot", summary);
    doc.post::<EmbedRequest, Sparse>("/", "embedRoot", summary);
    doc.post::<SimilarityRequest, Vec<f32>>("/", "embedRoot", summary);
    doc.answer::<Info>("/info", "info", "What the model is");
    let summary = "Whether the server is up";
    doc.get("/health", "health", summary);
    doc.get("/ping", "ping", summary);
    doc.get("/", "root", summary);
    let summary = "Numbers about the server, as text for Prometheus";
    doc.text("/metrics", "metrics", summary);
}

/// The requests as types, for the `OpenAPI` document.
#[cfg(test)]
mod schema {
    #![expect(dead_code, reason = "only the schemas are used")]

    use std::num::NonZeroU32;

    use schemars::JsonSchema;

    use crate::api::MAX_INPUTS;
    use crate::api::schema::{IdLists, Inputs, NotEmptyText, Texts};
    use crate::text::Direction;

    /// The fields of all requests for vectors.
    #[derive(JsonSchema)]
    pub struct EmbedRequest {
        inputs: Inputs,
        /// The name of one of the model's own prompts, which is put before each text.
        prompt_name: Option<String>,
        /// Whether a text that is too long is truncated. By default it is an error.
        truncate: Option<bool>,
        /// Which end is cut off. `truncate_direction` is read too.
        truncation_direction: Option<Direction>,
    }

    #[derive(JsonSchema)]
    pub struct EmbedDenseRequest {
        #[serde(flatten)]
        request: EmbedRequest,
        /// Whether vectors are scaled to length 1. The default is true.
        normalize: Option<bool>,
        dimensions: Option<NonZeroU32>,
    }

    #[derive(JsonSchema)]
    pub struct SimilarityRequest {
        inputs: SimilarityInput,
        parameters: Option<SimilarityParameters>,
    }

    #[derive(JsonSchema)]
    pub struct SimilarityInput {
        #[schemars(length(min = 1))]
        source_sentence: String,
        #[schemars(length(min = 1, max = MAX_INPUTS))]
        sentences: Vec<NotEmptyText>,
    }

    #[derive(JsonSchema)]
    pub struct SimilarityParameters {
        prompt_name: Option<String>,
        truncate: Option<bool>,
        truncation_direction: Option<Direction>,
    }

    #[derive(JsonSchema)]
    pub struct RerankRequest {
        #[schemars(length(min = 1))]
        query: String,
        #[schemars(length(min = 1, max = MAX_INPUTS))]
        texts: Vec<String>,
        /// Whether scores are logits. By default they are from 0 to 1.
        raw_scores: Option<bool>,
        /// Whether the response has the texts.
        return_text: Option<bool>,
        /// Whether a pair that is too long is truncated. By default it is an error.
        truncate: Option<bool>,
        /// Which end is cut off. `truncate_direction` is read too.
        truncation_direction: Option<Direction>,
    }

    #[derive(JsonSchema)]
    pub struct PredictRequest {
        inputs: Sequences,
        /// Whether scores are logits. By default they are from 0 to 1.
        raw_scores: Option<bool>,
        /// Whether an input that is too long is truncated. By default it is an error.
        truncate: Option<bool>,
        /// Which end is cut off. `truncate_direction` is read too.
        truncation_direction: Option<Direction>,
    }

    /// One text, one pair of texts (or a list of one text), or several of these.
    #[derive(JsonSchema)]
    #[serde(untagged)]
    pub enum Sequences {
        Text(#[schemars(length(min = 1))] String),
        Pair(#[schemars(length(min = 1, max = 2))] Vec<String>),
        Several(#[schemars(length(min = 1, max = MAX_INPUTS))] Vec<Sequence>),
    }

    #[derive(JsonSchema)]
    #[serde(transparent)]
    pub struct Sequence(#[schemars(length(min = 1, max = 2))] Vec<String>);

    #[derive(JsonSchema)]
    pub struct TokenizeRequest {
        inputs: Texts,
        add_special_tokens: Option<bool>,
        prompt_name: Option<String>,
    }

    #[derive(JsonSchema)]
    pub struct DecodeRequest {
        ids: IdLists,
        skip_special_tokens: Option<bool>,
    }
}
