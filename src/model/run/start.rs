//! A call's inputs and options, checked against the model → a [`Run`].

use crate::backend::{Backend, Pooling};
use crate::error::{Error, Result};
use crate::model::info::quoted;
use crate::model::loaded::Model;
use crate::model::run::Run;
use crate::model::run::options::{
    ChunkOptions, EncodeOptions, MultiOptions, ScoreOptions, SparseOptions, TextOptions,
    TokenOptions,
};
use crate::model::run::outputs::OutputDtype;
use crate::model::run::queue::{Queue, check_input};
use crate::model::run::requested::{
    DenseRequest, Requested, ScoreRequest, SparseRequest, TokenRequest,
};
use crate::model::run::text::ChunkRun;
use crate::model::transformer::classifier::{Classifier, ScoreActivation};
use crate::model::transformer::heads::{SparseHead, TokenHead};
use crate::model::transformer::late::{Late, Task};
use crate::model::transformer::route::Route;
use crate::text::{Chunking, Input, Rules};

/// Dense vectors.
pub fn dense<B: Backend>(
    model: &Model<B>,
    inputs: Vec<Input>,
    options: &EncodeOptions,
) -> Result<Run> {
    let route = model.route(options.task.as_deref())?;
    let EncodeOptions {
        normalize,
        dimensions,
        output,
        ..
    } = *options;
    let dense = dense_request(model, route, normalize, dimensions, output)?;
    if let Some(name) = &options.pooling {
        check_pooling(&model.routes[route], name)?;
    }
    let requested = Requested {
        dense: Some(dense),
        ..Requested::default()
    };
    run(model, inputs, route, options.text(), requested)
}

/// Refuses a pooling mode other than the model's.
fn check_pooling(route: &Route, name: &str) -> Result<()> {
    if name == "none" {
        let reason = "pooling is \"none\"; encodeTokens gives the vectors of all tokens";
        return Err(Error::input("pooling", reason));
    }
    let mode = Pooling::from_name(name)?;
    let own = route.dense().map_or(&[][..], |head| &head.pooling);
    if own == [mode] {
        return Ok(());
    }
    let own: Vec<&str> = own.iter().map(|mode| mode.mode().name).collect();
    let reason = format!(
        "pooling is {name:?}, and the model is loaded with {}; to change it, give the option to load: {{ pooling: {:?} }}",
        own.join(", "),
        mode.mode().name
    );
    Err(Error::input("pooling", reason))
}

/// Dense vectors of chunks.
pub fn chunks<B: Backend>(
    model: &Model<B>,
    texts: Vec<Input>,
    chunks: ChunkOptions,
    options: &EncodeOptions,
) -> Result<Run> {
    let mut run = dense(model, texts, options)?;
    let route = &model.routes[run.route];
    let pooling = route.dense().map(|head| head.pooling.as_slice());
    if chunks.late && pooling != Some(&[Pooling::Mean]) {
        return Err(Error::input(
            "late",
            "late chunking takes the mean of each chunk's tokens, and this model's pooling is another one; leave `late` out, or take a model with mean pooling",
        ));
    }
    run.queue.chunking = Some(chunking(route, chunks));
    Ok(run)
}

/// Sparse vectors.
pub fn sparse<B: Backend>(
    model: &Model<B>,
    inputs: Vec<Input>,
    options: &SparseOptions,
) -> Result<Run> {
    let route = model.route(options.task.as_deref())?;
    let SparseOptions {
        top_k,
        threshold,
        labels,
        ..
    } = *options;
    let sparse = sparse_request(model, route, top_k, threshold, labels)?;
    let requested = Requested {
        sparse: Some(sparse),
        ..Requested::default()
    };
    run(model, inputs, route, options.text(), requested)
}

/// A vector for each token.
pub fn tokens<B: Backend>(
    model: &Model<B>,
    inputs: Vec<Input>,
    options: &TokenOptions,
) -> Result<Run> {
    let route = model.route(options.task.as_deref())?;
    let requested = Requested {
        tokens: Some(token_request(model, route, options)?),
        ..Requested::default()
    };
    run(model, inputs, route, options.text(), requested)
}

/// Several kinds of vectors from one forward pass.
pub fn multi<B: Backend>(
    model: &Model<B>,
    inputs: Vec<Input>,
    options: &MultiOptions,
) -> Result<Run> {
    if !(options.dense || options.sparse || options.tokens) {
        return Err(Error::input(
            "options",
            "nothing is asked for: set at least one of dense, sparse and tokens",
        ));
    }
    let route = model.route(options.task.as_deref())?;
    let MultiOptions {
        normalize,
        dimensions,
        top_k,
        threshold,
        labels,
        ..
    } = *options;
    let dense = || dense_request(model, route, normalize, dimensions, OutputDtype::Float);
    let sparse = || sparse_request(model, route, top_k, threshold, labels);
    let tokens = || token_request(model, route, &TokenOptions::default());
    let requested = Requested {
        dense: options.dense.then(dense).transpose()?,
        sparse: options.sparse.then(sparse).transpose()?,
        tokens: options.tokens.then(tokens).transpose()?,
        ..Requested::default()
    };
    run(model, inputs, route, options.text(), requested)
}

/// Scores of pairs of texts. A text by itself has scores too, as models that classify texts take
/// it. Without inputs there are no scores.
pub fn scores<B: Backend>(
    model: &Model<B>,
    inputs: Vec<Input>,
    options: &ScoreOptions,
) -> Result<Run> {
    let head = classifier(model)?;
    let requested = Requested {
        scores: Some(ScoreRequest {
            labels: head.labels.len(),
            activation: options.activation.unwrap_or(head.scores),
        }),
        ..Requested::default()
    };
    let prompt = prompt(model, options.text())?;
    let queue = Queue::of(inputs, prompt, false, options.text());
    Ok(Run::new(queue, model.default_route, requested))
}

/// Scores of documents for a query, in the order of the documents.
pub fn rerank<B: Backend>(
    model: &Model<B>,
    query: &str,
    documents: Vec<String>,
    options: &ScoreOptions,
) -> Result<Run> {
    if let Some(late) = model.default_route().late() {
        return late_ranking(model, late, query, documents, options);
    }
    let labels = classifier(model)?.labels.len();
    if labels != 1 {
        return Err(Error::input(
            "model",
            format!(
                "the model gives {labels} scores for a pair, one for each of its labels, so it cannot rank documents; ask for the scores (score), or load a reranker with one label"
            ),
        ));
    }
    check_query(query)?;
    let pair = |document| Input::Pair(query.to_owned(), document);
    scores(model, documents.into_iter().map(pair).collect(), options)
}

fn check_query(query: &str) -> Result<()> {
    if query.trim().is_empty() {
        return Err(Error::EmptyInput(
            "the query is empty: documents cannot be ranked for it".to_owned(),
        ));
    }
    Ok(())
}

/// Scores of documents for a query by the vectors of their tokens.
fn late_ranking<B: Backend>(
    model: &Model<B>,
    late: &Late,
    query: &str,
    documents: Vec<String>,
    options: &ScoreOptions,
) -> Result<Run> {
    check_query(query)?;
    if options
        .activation
        .is_some_and(|activation| activation != ScoreActivation::Identity)
    {
        return Err(Error::input(
            "activation",
            "the model ranks by sums of similarities, which have no activation; leave it out",
        ));
    }
    let route = model.default_route;
    let of_query = TextOptions {
        task: Some("query"),
        ..options.text()
    };
    let of_documents = TextOptions {
        task: Some("document"),
        prompt: None,
        prompt_name: None,
        ..options.text()
    };
    let requested = Requested {
        tokens: Some(token_request(model, route, &TokenOptions::default())?),
        ranking: Some(late.measure),
        ..Requested::default()
    };
    let mut inputs = Vec::new();
    if !documents.is_empty() {
        inputs.push(Input::Text(query.to_owned()));
        inputs.extend(documents.into_iter().map(Input::Text));
    }
    let before_documents = prompt(model, of_documents)?;
    let mut queue = Queue::of(inputs, before_documents, false, options.text());
    queue.task = Some(Task::Document);
    queue.query = Some(prompt(model, of_query)?);
    Ok(Run::new(queue, route, requested))
}

/// The places where [`chunks`] cuts texts.
pub fn chunk<B: Backend>(
    model: &Model<B>,
    texts: Vec<String>,
    chunks: ChunkOptions,
    options: &EncodeOptions,
) -> Result<ChunkRun> {
    let route = model.route(options.task.as_deref())?;
    let prompt = prompt(model, options.text())?;
    let chunking = chunking(&model.routes[route], chunks);
    Ok(ChunkRun::new(texts, route, prompt, chunking))
}

/// Errors if the vectors of the inputs' tokens have more than `limit` numbers. Inputs are tokenised
/// until the limit is passed, so that the cost does not grow with the request.
pub fn check_size<B: Backend>(
    model: &Model<B>,
    inputs: &[Input],
    options: &TokenOptions,
    limit: usize,
) -> Result<()> {
    let route = &model.routes[model.route(options.task.as_deref())?];
    let prompt = &prompt(model, options.text())?;
    let task = task(route, options.text())?;
    let dimensions = model.dimensions();
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
        tokens += route.tokens(task, index, input, rules)?.ids.len();
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

fn run<B: Backend>(
    model: &Model<B>,
    inputs: Vec<Input>,
    route: usize,
    options: TextOptions,
    requested: Requested,
) -> Result<Run> {
    let prompt = prompt(model, options)?;
    let skip = model.routes[route]
        .dense()
        .is_some_and(|head| !head.include_prompt);
    let mut queue = Queue::new(inputs, prompt, skip, options)?;
    queue.task = task(&model.routes[route], options)?;
    Ok(Run::new(queue, route, requested))
}

/// What a model that is made for late interaction takes texts for. Other models read all texts in
/// one way.
fn task(route: &Route, options: TextOptions) -> Result<Option<Task>> {
    let task = route.late().map(|_| Task::from_name(options.task));
    task.transpose()
}

fn dense_request<B: Backend>(
    model: &Model<B>,
    route: usize,
    normalize: Option<bool>,
    dimensions: Option<u64>,
    output: OutputDtype,
) -> Result<DenseRequest> {
    let head = model.routes[route].dense().ok_or_else(|| {
        wrong_kind(
            model,
            "ask it for sparse vectors (encodeSparse, embedSparse)",
        )
    })?;
    let dimensions = match dimensions {
        None => model.usual_dimensions(head),
        Some(got) => usize::try_from(got)
            .ok()
            .filter(|got| (1..=head.dimensions).contains(got))
            .ok_or(Error::InvalidDimensions {
                got,
                limit: head.dimensions,
            })?,
    };
    Ok(DenseRequest {
        dimensions,
        integers: head.integers,
        normalize: normalize.unwrap_or(head.normalize),
        output,
    })
}

fn sparse_request<B: Backend>(
    model: &Model<B>,
    route: usize,
    top_k: Option<usize>,
    threshold: f32,
    labels: bool,
) -> Result<SparseRequest> {
    if !model.routes[route].is_sparse() {
        return Err(wrong_kind(
            model,
            "ask it for dense vectors (encode, embeddings.create), or load a SPLADE model",
        ));
    }
    let head = model.routes[route].sparse();
    if labels && !model.routes[route].sparse_size().1 {
        return Err(Error::input(
            "labels",
            "the entries of this model's sparse vectors are latents, not entries of the vocabulary, and have no labels; leave `labels` out",
        ));
    }
    if !threshold.is_finite() || threshold < 0.0 {
        return Err(Error::input(
            "threshold",
            "threshold must be a number of 0 or more",
        ));
    }
    Ok(SparseRequest {
        top_k: top_k
            .or(model.info.max_active_dims)
            .or(head.and_then(SparseHead::most)),
        threshold,
        labels,
    })
}

fn token_request<B: Backend>(
    model: &Model<B>,
    route: usize,
    options: &TokenOptions,
) -> Result<TokenRequest> {
    let route = &model.routes[route];
    if route.dense().is_none() && route.late().is_none() {
        return Err(wrong_kind(
            model,
            "ask it for sparse vectors (encodeSparse, embedSparse), or load a dense model for vectors of tokens",
        ));
    }
    if !route.gives_tokens() {
        return Err(wrong_kind(
            model,
            "its vectors are means of static ones, and it has none of tokens in their context: ask it for dense vectors (encode), or load a model with a transformer",
        ));
    }
    let own = route.token_head();
    let head = options.head.unwrap_or(own);
    if head == TokenHead::Colbert && own != TokenHead::Colbert {
        return Err(Error::input(
            "head",
            "this model has no head for late interaction (no colbert_linear file beside its weights); ask for head \"states\"",
        ));
    }
    let projection = route.colbert().filter(|_| head == TokenHead::Colbert);
    let normalize = options.normalize;
    let normalize = normalize.unwrap_or(projection.is_some_and(|projection| projection.normalize));
    let factor = options.pool_factor.unwrap_or(1);
    let wrong = |reason: &str| Err(Error::input("poolFactor", format!("poolFactor {reason}")));
    if factor == 0 {
        return wrong("is 0; it must be a whole number of 1 or more");
    }
    if factor > 1 && options.task.as_deref() == Some("query") {
        return wrong("is for documents: a query keeps all of its vectors");
    }
    if factor > 1 && !(normalize && projection.is_some()) {
        return wrong(
            "merges vectors for late interaction by their cosines; they must be those of head \"colbert\", and normalised",
        );
    }
    if !matches!(options.output, OutputDtype::Float | OutputDtype::Int8) {
        let name = options.output.name();
        return Err(Error::input(
            "output",
            format!("output is {name:?}; vectors of tokens are \"float\" or \"int8\""),
        ));
    }
    Ok(TokenRequest {
        head,
        normalize,
        output: options.output,
        factor,
        kept: usize::from(route.late().is_some()),
    })
}

fn classifier<B: Backend>(model: &Model<B>) -> Result<&Classifier> {
    model.default_route().classifier().ok_or_else(|| {
        wrong_kind(
            model,
            "ask it for vectors (encode, encodeSparse), or load a reranker for scores of pairs",
        )
    })
}

fn wrong_kind<B: Backend>(model: &Model<B>, advice: &'static str) -> Error {
    let advice = if model.default_route().classifier().is_some() {
        "ask it for scores of pairs (rerank, score), or load an embedding model"
    } else if model.default_route().late().is_some() {
        "ask it for vectors of tokens (encodeTokens) or for a ranking (rerank), or load an embedding model"
    } else {
        advice
    };
    Error::WrongModelKind {
        model: model.info.model.clone(),
        kind: model.kind(),
        advice,
    }
}

/// The text that goes before each input.
fn prompt<B: Backend>(model: &Model<B>, options: TextOptions) -> Result<String> {
    let prompts = &model.info.prompts;
    if let Some(text) = options.prompt {
        return Ok(text.to_owned());
    }
    if let Some(instruction) = options.instruction {
        let template = model.info.instruction_template.as_deref().ok_or_else(|| {
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
    let late = model.default_route().late();
    let task = options
        .task
        .filter(|_| late.is_none_or(|late| late.prompts));
    if let Some(prompt) = task.and_then(|task| prompts.for_task(task)) {
        return Ok(prompt.to_owned());
    }
    match prompts.default.as_deref() {
        Some(name) => prompts.find(name).map(str::to_owned),
        None => Ok(String::new()),
    }
}

fn chunking(route: &Route, options: ChunkOptions) -> Chunking {
    Chunking {
        size: options.size.unwrap_or(route.max_tokens),
        overlap: options.overlap,
        late: options.late,
    }
}
