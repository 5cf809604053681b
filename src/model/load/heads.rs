//! The heads of a model: from the modules after the transformer, or from files beside it, to
//! weights and steps.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::backend::{Activation, NormKind, Pooling, Splade, SpladeActivation, SpladeStrategy};
use crate::error::{Error, Result};
use crate::model::families;
use crate::model::families::Family;
use crate::model::families::config::Config;
use crate::model::kind::Kind;
use crate::model::load::files::{COLBERT, CONFIG, Files, LEXICAL, WEIGHTS};
use crate::model::load::kind::{CLASSIFIER, DECODER};
use crate::model::load::layout_builder::LayoutBuilder;
use crate::model::load::pipeline::{Dense, Module, ModuleEntry};
use crate::model::load::sentence::{CLASSIFICATION, GENERATION, Sentence};
use crate::model::transformer::heads::{DenseHead, SparseHead, Step, TokenProjection};
use crate::model::transformer::layout::Precision;
use crate::text::Tokenizer;
use crate::weights;

/// The largest table of weights by token, in rows. The limit of embedding tables, too.
const MOST_ROWS: usize = 1 << 24;

/// Whether a class of the model's ends in `head`.
fn is(config: &Config, head: &str) -> bool {
    let architectures = config.get("architectures").and_then(Value::as_array);
    let mut names = architectures
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    names.any(|name| name.ends_with(head))
}

/// Whether the model may be a reranker of the kind of decoders, which may have a chat template for
/// a query and a document.
pub fn may_ask(config: &Config) -> bool {
    let is_decoder = |family: &Family| {
        let names = family.classifier.as_ref();
        names.is_some_and(|names| names.dense.is_none())
    };
    (is(config, DECODER) || is(config, CLASSIFIER)) && families::find(config).is_ok_and(is_decoder)
}

/// The module that sentence-transformers assumes after the transformer of a model without
/// modules.json. `asks` is whether the model has a chat template for a query and a document.
pub fn assumed(config: &Config, kind: Option<Kind>, asks: bool) -> Result<Module> {
    let is = |head: &str| is(config, head);
    let kind = kind.unwrap_or(if is("ForMaskedLM") {
        Kind::Sparse
    } else if is(CLASSIFIER) || (asks && is(DECODER)) {
        Kind::Reranker
    } else {
        Kind::Dense
    });
    Ok(if kind == Kind::Reranker && is(DECODER) {
        Module::Logits { tokens: None }
    } else if kind == Kind::Reranker {
        Module::Classifier
    } else if kind == Kind::Sparse {
        Module::Splade(Splade {
            strategy: SpladeStrategy::Max,
            activation: SpladeActivation::Log1pRelu,
        })
    } else {
        let last = is(DECODER) && families::is_causal(config)?;
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

/// Refuses a transformer whose output is not what the modules after it take. `kind` is the
/// transformer's type, `file` the file of its settings.
pub fn check_task(kind: &str, sentence: &Sentence, modules: &[Module], file: &str) -> Result<()> {
    let needed = match modules {
        [Module::Splade(_)] => "fill-mask",
        [Module::Classifier] => CLASSIFICATION,
        [Module::Logits { .. }] => GENERATION,
        _ => "feature-extraction",
    };
    let is_asked = matches!(modules, [Module::Classifier | Module::Logits { .. }]);
    if sentence.messages && !is_asked {
        let reason = "modality_config has messages: sentence-transformers puts texts into the model's chat template, which is supported for rerankers only";
        return Err(Error::config(file, reason));
    }
    let usual = match kind {
        "MLMTransformer" => "fill-mask",
        _ => "feature-extraction",
    };
    let task = sentence.task.as_deref().unwrap_or(usual);
    if task == needed {
        return Ok(());
    }
    let reason = format!(
        "transformer_task is {task:?}; the modules after the transformer take the output of \"{needed}\""
    );
    Err(Error::config(file, reason))
}

/// The head of a dense model: pooling, further steps, a final normalisation. `hidden` is the width
/// of the states.
pub fn dense(layout: &mut LayoutBuilder, hidden: usize, modules: &[Module]) -> Result<DenseHead> {
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
    let (integers, rest) = match rest.split_last() {
        Some((Module::Integers, rest)) => (true, rest),
        _ => (false, rest),
    };
    let (steps, dimensions) = steps(layout, hidden * modes.len(), rest)?;
    Ok(DenseHead {
        pooling: modes.clone(),
        include_prompt: *include_prompt,
        steps,
        integers,
        normalize,
        dimensions,
    })
}

/// The steps of Dense and Normalize modules over vectors of `dimensions`, and the width of their
/// result.
pub fn steps(
    layout: &mut LayoutBuilder,
    mut dimensions: usize,
    modules: &[Module],
) -> Result<(Vec<Step>, usize)> {
    let steps = modules
        .iter()
        .map(|module| step(layout, &mut dimensions, module));
    Ok((steps.collect::<Result<_>>()?, dimensions))
}

/// One step after pooling. `dimensions` is the width of its input, then of its output.
fn step(layout: &mut LayoutBuilder, dimensions: &mut usize, module: &Module) -> Result<Step> {
    match module {
        Module::Normalize => Ok(Step::Normalize),
        Module::Dense {
            path,
            shape,
            bias,
            activation,
        } => {
            check_width(path, "in_features", shape[1], *dimensions)?;
            *dimensions = shape[0];
            let file = layout.head_file(format!("{path}/{WEIGHTS}"));
            let linear = layout.linear(file, "linear", *shape, *bias, Precision::Full);
            Ok(Step::Linear(linear, *activation))
        }
        Module::Residual(dense) | Module::Scores(dense) => {
            let Dense { path, shape, .. } = dense;
            check_width(path, "in_features", shape[1], *dimensions)?;
            *dimensions = shape[0];
            let file = layout.head_file(format!("{path}/{WEIGHTS}"));
            let linear = layout.linear(file, "linear", *shape, dense.bias, Precision::Full);
            if let Module::Scores(_) = module {
                return Ok(Step::Linear(linear, dense.activation));
            }
            let shortcut = (shape[0] != shape[1])
                .then(|| layout.linear(file, "residual", *shape, false, Precision::Full));
            Ok(Step::Residual(linear, dense.activation, shortcut))
        }
        Module::LayerNorm { path, width } => {
            check_width(path, "dimension", *width, *dimensions)?;
            let file = layout.head_file(format!("{path}/{WEIGHTS}"));
            let norm = layout.head_norm(file, "norm", *width);
            // torch's default.
            Ok(Step::Norm(norm, NormKind::Layer, 1e-5))
        }
        Module::Pooling { .. }
        | Module::Splade(_)
        | Module::Classifier
        | Module::Logits { .. }
        | Module::Integers
        | Module::Autoencoder { .. } => Err(last()),
    }
}

/// The error about a module in the wrong place.
fn last() -> Error {
    Error::UnsupportedModel(
        "modules.json has a second pooling module, or one that must come last; one is supported"
            .to_owned(),
    )
}

/// Refuses a module whose input is not what the one before it gives.
fn check_width(path: &str, field: &str, width: usize, given: usize) -> Result<()> {
    if width == given {
        return Ok(());
    }
    let reason = format!("{field} is {width}; the module before gives {given}");
    Err(Error::config(format!("{path}/{CONFIG}"), reason))
}

/// The head of a sparse autoencoder after the modules of a dense vector.
pub fn autoencoder(
    layout: &mut LayoutBuilder,
    hidden: usize,
    modules: &[Module],
    (path, [latents, input], kept): (&str, [usize; 2], usize),
) -> Result<SparseHead> {
    let dense = dense(layout, hidden, modules)?;
    if dense.integers {
        return Err(last());
    }
    check_width(path, "input_dim", input, dense.dimensions)?;
    let file = layout.head_file(format!("{path}/{WEIGHTS}"));
    // Of training: a count, and the same matrix again.
    layout.set_unused(file, &["stats_last_nonzero", "encoder.", "decoder."]);
    Ok(SparseHead::Autoencoder {
        dense,
        center: layout.vector(file, &["pre_bias".to_owned()], &[input]),
        encoder: layout.autoencoder(file, [latents, input]),
        latents,
        kept,
    })
}

/// BGE-M3's head for lexical weights, if its file is there.
pub fn lexical(
    layout: &mut LayoutBuilder,
    files: &Files,
    transformer: &ModuleEntry,
    hidden: usize,
    tokenizer: &Tokenizer,
) -> Option<SparseHead> {
    let path = present(files, transformer.file(LEXICAL))?;
    let file = layout.small_head_file(path);
    let special = ["<s>", "</s>", "<pad>", "<unk>"].into_iter();
    Some(SparseHead::Lexical {
        linear: layout.linear(file, "", [1, hidden], true, Precision::Full),
        dropped: special.filter_map(|token| tokenizer.id(token)).collect(),
    })
}

/// BGE-M3's head for late interaction, if its file is there.
pub fn colbert(
    layout: &mut LayoutBuilder,
    files: &Files,
    transformer: &ModuleEntry,
    hidden: usize,
) -> Result<Option<TokenProjection>> {
    let Some(path) = present(files, transformer.file(COLBERT)) else {
        return Ok(None);
    };
    let out = rows(files, &path, hidden)?;
    let file = layout.small_head_file(path);
    let linear = layout.linear(file, "", [out, hidden], true, Precision::Full);
    Ok(Some(TokenProjection {
        steps: vec![Step::Linear(linear, Activation::Identity)],
        normalize: true,
        dimensions: out,
        late: None,
    }))
}

/// The path of a small weight file or of its alternative, whichever the source has.
fn present(files: &Files, path: String) -> Option<String> {
    let other = weights::alternative(&path);
    let mut paths = std::iter::once(path).chain(other);
    paths.find(|path| files.bytes(path).is_some())
}

/// Rows of the matrix `weight` in a small weight file, or `default`. No config has a field for the
/// width of this head.
fn rows(files: &Files, path: &str, default: usize) -> Result<usize> {
    let file = files.required(path)?;
    let shape = weights::shape_of(path, file, "weight")?;
    let rows = shape.first().and_then(|rows| usize::try_from(*rows).ok());
    // A file cannot hold more rows than it has bytes; no memory is taken for such a shape.
    let rows = rows.filter(|rows| (1..=file.len()).contains(rows));
    Ok(rows.unwrap_or(default))
}

/// Reads a JSON table of weights by token into a vector by id. Tokens that the tokenizer lacks are
/// ignored.
pub fn table(path: &str, bytes: &[u8], tokenizer: &Tokenizer) -> Result<Vec<f32>> {
    let table: BTreeMap<String, f32> = serde_json::from_slice(bytes).map_err(|error| {
        Error::config(
            path,
            format!("is not a JSON object of numbers ({error}); download it again"),
        )
    })?;
    let mut weights = vec![0.0; tokenizer.size().min(MOST_ROWS)];
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
