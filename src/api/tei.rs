//! text-embeddings-inference's own routes (1.9): `/embed`, `/embed_sparse`, `/embed_all`, `/similarity`, `/tokenize`,
//! `/decode` and `/info`. Answers are lists, one entry an input, even for one input.
//!
//! `truncate` is false by default, as Trieve's documents have it: what is too long is an error.

use serde::Serialize;

use super::body::Body;
use super::{MAX_INPUTS, Pending, check_filled, dense_options, shown, vectors};
use crate::backend::{Backend, Pooling};
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::run::options::{EncodeOptions, SparseOptions, TokenHead, TokenOptions};
use crate::model::run::outputs::TokenVectors;
use crate::text::{Input, Token};

/// The most numbers of an answer of `/embed_all`: as JSON some 25 MB.
const MAX_NUMBERS: usize = 1 << 21;

/// Texts or token ids. `filled`: none may be empty, as on the wire.
fn inputs(body: &mut Body, filled: bool) -> Result<Vec<Input>> {
    let inputs = body.take("inputs").inputs("inputs")?;
    if filled {
        check_filled("inputs", &inputs)?;
    }
    Ok(inputs)
}

/// One entry of a sparse vector.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "SparseValue"))]
pub struct Entry {
    index: u32,
    value: f32,
}

/// `/embed`: `{ inputs, … }` → dense vectors.
pub fn start_dense<B: Backend>(
    embedder: &Embedder<B>,
    mut body: Body,
) -> Result<Pending<Vec<Vec<f32>>>> {
    let inputs = inputs(&mut body, true)?;
    let options = dense_options(&mut body)?;
    Ok(Pending::new(embedder.start(inputs, &options)?, vectors))
}

/// `/embed_sparse`: `{ inputs, … }` → entries of sparse vectors. `filled`: an empty text is an error, as on the wire.
pub fn start_sparse<B: Backend>(
    embedder: &Embedder<B>,
    mut body: Body,
    filled: bool,
) -> Result<Pending<Vec<Vec<Entry>>>> {
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
        let entries = |(index, value)| Entry { index, value };
        vectors
            .map(|vector| {
                let pairs = vector.indices.into_iter().zip(vector.values);
                pairs.map(entries).collect()
            })
            .collect()
    }))
}

/// `/embed_all`: `{ inputs, … }` → for each input the states of its tokens, not normalised. `filled` as above.
pub fn start_all<B: Backend>(
    embedder: &Embedder<B>,
    mut body: Body,
    filled: bool,
) -> Result<Pending<Vec<Vec<Vec<f32>>>>> {
    let inputs = inputs(&mut body, filled)?;
    let options = TokenOptions {
        head: Some(TokenHead::States),
        prompt_name: body.text("prompt_name")?,
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

/// `/similarity`: `{ inputs: { source_sentence, sentences }, parameters? }` → the cosine of the one to each of the others.
pub(super) fn start_similarity<B: Backend>(
    embedder: &Embedder<B>,
    mut body: Body,
) -> Result<Pending<Vec<f32>>> {
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
    Ok(Pending::new(run, |output| {
        let all = vectors(output);
        let cosine = |other: &Vec<f32>| all[0].iter().zip(other).map(|(a, b)| a * b).sum();
        all[1..].iter().map(cosine).collect()
    }))
}

/// `/tokenize`: `{ inputs, add_special_tokens?, prompt_name? }` → tokens of each text, each with its slice of the text.
pub(super) fn tokenize<B: Backend>(
    embedder: &Embedder<B>,
    mut body: Body,
) -> Result<Vec<Vec<Token>>> {
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
    inputs.into_iter().map(tokens).collect()
}

/// `/decode`: `{ ids, skip_special_tokens? }` → texts.
pub(super) fn decode<B: Backend>(embedder: &Embedder<B>, mut body: Body) -> Result<Vec<String>> {
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
    lists.into_iter().map(decode).collect()
}

/// The response of `GET /info`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Info<'a> {
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

/// What the model is for: vectors.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ModelType {
    embedding: EmbeddingType,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct EmbeddingType {
    /// How tokens' states become a vector.
    pooling: &'static str,
}

pub(super) fn info<B: Backend>(embedder: &Embedder<B>, max_requests: usize) -> Info<'_> {
    let info = embedder.info();
    let name = shown(&info.model);
    let pooling = match embedder.pooling() {
        None => "splade",
        Some([Pooling::Cls]) => "cls",
        Some([Pooling::LastToken]) => "last_token",
        Some([Pooling::Mean]) => "mean",
        Some([Pooling::Max]) => "max",
        Some([Pooling::MeanSqrtLen]) => "mean_sqrt_len",
        Some([Pooling::WeightedMean]) => "weighted_mean",
        Some(_) => "several",
    };
    Info {
        model_id: name,
        model_sha: info.revision.as_deref(),
        model_dtype: info.dtype.name(),
        served_model_name: name,
        model_type: ModelType {
            embedding: EmbeddingType { pooling },
        },
        max_concurrent_requests: max_requests,
        max_input_length: info.max_tokens,
        max_batch_tokens: embedder.backend().pass_tokens(),
        max_batch_requests: None,
        max_client_batch_size: MAX_INPUTS,
        auto_truncate: false,
        tokenization_workers: 1,
        version: env!("CARGO_PKG_VERSION"),
        sha: None,
        docker_label: None,
    }
}
