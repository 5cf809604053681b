//! Model families: a table of config fields and tensor names for each, not another forward pass.
//!
//! Adding one takes a file here and its line in the list below.

mod albert;
mod bert;
pub mod config;
mod deberta;
mod distilbert;
mod electra;
mod eurobert;
mod gemma2;
mod gemma3;
mod gte;
mod jina_bert;
mod jina_v5;
mod llama;
mod mistral;
mod modernbert;
mod mpnet;
mod nomic_bert;
mod qwen2;
mod qwen3;
mod roberta;
mod t5;
mod xlm_roberta_flash;

use self::config::Config;
use crate::backend::{Activation, Heads, Pooling};
use crate::error::{Error, Result};
use crate::model::transformer::spec::Spec;

/// What tells one family from another.
pub struct Family {
    /// The name that `info` shows.
    pub name: &'static str,
    /// Values of `model_type` in config.json.
    pub model_types: &'static [&'static str],
    /// What the names of its classes in transformers begin with: `Bert` of `BertModel`.
    pub classes: &'static [&'static str],
    /// Tells families of one `model_type` apart.
    pub is: fn(&Config) -> bool,
    /// Prefixes that its tensor names may carry.
    pub prefixes: &'static [&'static str],
    /// What names of tensors that have no effect on vectors begin with, after the prefix: heads for
    /// training.
    pub unused: &'static [&'static str],
    /// Code of a model's own (`auto_map`) that its `spec` describes: file and class.
    pub code: &'static [&'static str],
    /// Prefixes of the names of other repositories that have this code. transformers writes the
    /// repository of the base model into the config of a fine-tuned model.
    pub code_of: &'static [&'static str],
    /// Reads config.json.
    pub spec: fn(&Config) -> Result<Spec>,
    /// Tensor names; several where checkpoints of two spellings are about.
    pub spellings: &'static [Names],
    /// Head for masked-language modelling, which SPLADE reads.
    pub mlm: Option<MlmNames>,
    /// Head for sequence classification, which gives rerankers their scores.
    pub classifier: Option<ClassifierNames>,
    /// How rerankers that are decoders without such a head are asked for a score.
    pub judge: Option<&'static Judge>,
    /// What its authors put in front of a text to say what it is for.
    pub instruction: Option<&'static str>,
    /// Whether BGE-M3's heads may lie beside the weights.
    pub m3_heads: bool,
    /// What sentence-transformers' module of the model's own code (`custom_st.Transformer`) does.
    pub own_module: OwnModule,
}

/// What a model's own module for sentence-transformers does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnModule {
    /// There is none.
    None,
    /// It chooses one of the adapters that are in the weight file.
    Tasks,
    /// It chooses one of the adapters that are in folders of their own, and takes the last token's
    /// state, normalised.
    LastToken,
}

/// Tensor names, without prefix. A "module" has a `.weight` and may have a `.bias`; a layer's names
/// follow `layer` with `{}` replaced by its index.
pub struct Names {
    /// Table of word embeddings.
    pub word_embeddings: &'static str,
    /// Table of learned positions.
    pub position_embeddings: &'static str,
    /// Table of token types, where the `Spec` has one.
    pub token_type_embeddings: &'static str,
    /// Table `[buckets, heads]` of a relative bias, where the `Spec` has one.
    pub relative_bias: &'static str,
    /// Vectors of distances, which attention compares with tokens, where the `Spec` has them.
    pub relative: Option<RelativeNames>,
    /// Module: projection of the embeddings, where the `Spec` has one.
    pub embedding_projection: &'static str,
    /// Module: norm of the embeddings.
    pub embedding_norm: Option<&'static str>,
    /// Prefix of a layer.
    pub layer: &'static str,
    /// Modules of a layer: query, key and value projections, or one for all three.
    pub qkv: &'static [&'static str],
    /// Modules of a layer: norms of each query head and of each key head.
    pub head_norms: Option<[&'static str; 2]>,
    /// Modules of a layer: norms of all query heads together and of all key heads.
    pub wide_norms: Option<[&'static str; 2]>,
    /// Module of a layer: projection of the attention's output.
    pub attention_output: &'static str,
    /// Norms around attention.
    pub attention_norms: NormNames,
    /// Module of a layer: first product of a feed-forward block without a gate.
    pub ffn_up: &'static str,
    /// The experts of a layer that has them in place of a feed-forward block.
    pub experts: Option<ExpertNames>,
    /// Modules of a layer: gate and first product of a gated feed-forward block in the order of the
    /// `Spec`'s gate, or one for both.
    pub ffn_gated: &'static [&'static str],
    /// Module of a layer: second product of the feed-forward block.
    pub ffn_down: &'static str,
    /// Norms around the feed-forward block.
    pub ffn_norms: NormNames,
    /// Module: norm after the last layer.
    pub final_norm: Option<&'static str>,
    /// Module: projection of the states after it, where the `Spec` has one.
    pub projection: &'static str,
    /// Whether this is the spelling of saved models, where each matrix of the experts and adapters
    /// is a tensor of its own, and weights with adapters have the usual names.
    pub is_saved: bool,
}

/// Tensor names of the vectors of distances.
#[derive(Clone, Copy)]
pub struct RelativeNames {
    /// Table `[2 · span, hidden]`.
    pub table: &'static str,
    /// Module: norm of its rows.
    pub norm: &'static str,
}

/// Tensor names of the experts of a layer. Those of the two products have no `.weight`, and hold
/// all experts, one after the other: `[experts · intermediate, hidden]`. The second is transposed.
#[derive(Clone, Copy)]
pub struct ExpertNames {
    /// Module: gives a logit for each expert, without a bias.
    pub router: &'static str,
    /// Tensor: the first product.
    pub up: &'static str,
    /// Tensor: the second product.
    pub down: &'static str,
    /// Tensor: what is added to the sum of the experts.
    pub bias: &'static str,
}

/// Norms around one block of a layer, as modules of the layer: x ← after(x +
/// branch(block(before(x)))).
#[derive(Clone, Copy)]
pub struct NormNames {
    /// Of the block's input.
    pub before: Option<&'static str>,
    /// Whether the first layer has none of these.
    pub before_skips_first: bool,
    /// Of the block's output.
    pub branch: Option<&'static str>,
    /// Whether that is of the sum with the residual, which is added again after it.
    pub branch_adds: bool,
    /// Of the sum with the residual.
    pub after: Option<&'static str>,
}

impl NormNames {
    const NONE: Self = Self {
        before: None,
        before_skips_first: false,
        branch: None,
        branch_adds: false,
        after: None,
    };

    /// After the sum, as in the first transformers.
    const fn post(after: &'static str) -> Self {
        Self {
            after: Some(after),
            ..Self::NONE
        }
    }

    /// Of the input.
    const fn pre(before: &'static str) -> Self {
        Self {
            before: Some(before),
            ..Self::NONE
        }
    }
}

/// Tensor names of a masked-language-modelling head; these carry no prefix.
pub struct MlmNames {
    /// Module: dense layer before the decoder.
    pub transform: &'static str,
    /// Whether that has a bias.
    pub transform_bias: bool,
    /// Module: norm before the decoder.
    pub norm: &'static str,
    /// Decoder weights `[vocab, hidden]`; the word embeddings where the file has none (tied).
    pub decoder: &'static str,
    /// Decoder bias `[vocab]`.
    pub bias: &'static str,
    /// Its activation, where that is not the feed-forward block's.
    pub activation: Option<Activation>,
}

/// Tensor names of a head for sequence classification, and how it works: a token's state, or the
/// mean of all, goes through a dense layer with an activation and a norm, where there are these,
/// and a product that gives a number for each label.
#[derive(Clone, Copy)]
pub struct ClassifierNames {
    /// Which state.
    pub pooling: fn(&Config) -> Result<Pooling>,
    /// Module: dense layer, with a bias unless there is a norm.
    pub dense: Option<&'static str>,
    /// Its activation.
    pub activation: Activation,
    /// Module: norm after the activation.
    pub norm: Option<&'static str>,
    /// Module: the product, with a bias unless there is no dense layer.
    pub output: &'static str,
}

/// How the authors of a family's rerankers put a question to the decoder. Its next token is the
/// answer.
pub struct Judge {
    /// The question in pieces that are tokenised one by one. `{query}`, `{document}` and `{prompt}`
    /// stand for the texts.
    pub question: &'static [&'static str],
    /// The piece that takes the place of the one with the query if there is a prompt.
    pub prompted: &'static str,
    /// The tokens for yes and for no.
    pub answers: [&'static str; 2],
    /// Whether scores are probabilities, unless the model's files say otherwise.
    pub sigmoid: bool,
}

impl ClassifierNames {
    /// RoBERTa's.
    const ROBERTA: Self = Self {
        pooling: first_token,
        dense: Some("classifier.dense"),
        activation: Activation::Tanh,
        norm: None,
        output: "classifier.out_proj",
    };
    /// BERT's: the pooler of its pre-training, and a product.
    const BERT: Self = Self {
        dense: Some("pooler.dense"),
        output: "classifier",
        ..Self::ROBERTA
    };
    /// Decoders': a product with the last token's state.
    const DECODER: Self = Self {
        pooling: last_token,
        dense: None,
        activation: Activation::Identity,
        norm: None,
        output: "score",
    };
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "other families read it from their config"
)]
fn first_token(_: &Config) -> Result<Pooling> {
    Ok(Pooling::Cls)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "other families read it from their config"
)]
fn last_token(_: &Config) -> Result<Pooling> {
    Ok(Pooling::LastToken)
}

/// The heads that BERT and its relatives are trained with, and their pooler, whose output is not
/// the last layer's.
const BERT_HEADS: &[&str] = &[
    "pooler.",
    "cls.predictions.",
    "cls.seq_relationship.",
    "lm_head.",
];

/// Bounds far above any real model, so that a hostile config cannot make a size overflow.
const MOST_WIDTH: usize = 1 << 16;
const MOST_ROWS: usize = 1 << 24;
const MOST_LAYERS: usize = 1024;

/// The first that fits is taken.
const FAMILIES: &[Family] = &[
    jina_bert::FAMILY,
    jina_bert::QK,
    albert::FAMILY,
    bert::FAMILY,
    xlm_roberta_flash::FAMILY,
    roberta::FAMILY,
    deberta::FAMILY,
    distilbert::FAMILY,
    electra::FAMILY,
    eurobert::FAMILY,
    jina_v5::SMALL,
    jina_v5::NANO,
    mpnet::FAMILY,
    modernbert::FAMILY,
    nomic_bert::FAMILY,
    nomic_bert::MOE,
    gte::FAMILY,
    llama::FAMILY,
    llama::BIDIRECTIONAL,
    qwen2::FAMILY,
    qwen3::FAMILY,
    qwen3::PROJECTED,
    qwen3::BIDIRECTIONAL,
    mistral::FAMILY,
    gemma2::FAMILY,
    gemma3::FAMILY,
    t5::FAMILY,
];

/// The family of a model by its config.json.
pub fn find(config: &Config) -> Result<&'static Family> {
    let Some(model_type) = config.text("model_type")? else {
        return Err(config.wrong("model_type", "the name of a model family, such as \"bert\""));
    };
    FAMILIES
        .iter()
        .find(|family| family.model_types.contains(&model_type) && (family.is)(config))
        .ok_or_else(|| {
            let mut known: Vec<_> = FAMILIES.iter().flat_map(|family| family.model_types).copied().collect();
            known.sort_unstable();
            known.dedup();
            Error::UnsupportedModel(format!(
                "config.json names the model type {model_type:?}, which is not supported; supported are: {}",
                known.join(", ")
            ))
        })
}

/// What the names of the classes of all families begin with.
pub fn classes() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.classes).copied()
}

/// Whether code of a model's own, as `auto_map` names it, is implemented here.
pub fn has_code(config: &Config, place: &str) -> bool {
    find(config).is_ok_and(|family| {
        let (repository, class) = place.split_once("--").unwrap_or(("", place));
        let mut repositories = family.code_of.iter();
        family.code.contains(&class)
            && (repository.is_empty() || repositories.any(|of| repository.starts_with(of)))
    })
}

/// Whether a decoder is causal.
pub fn is_causal(config: &Config) -> Result<bool> {
    mistral::is_causal(config)
}

/// Refuses what makes an encoder attend as a decoder does. transformers obeys `is_causal: true` for
/// texts without padding only.
fn encoder(config: &Config) -> Result<()> {
    for field in ["is_decoder", "add_cross_attention", "is_causal"] {
        config.only(field, &[false.into()])?;
    }
    Ok(())
}

/// Heads that share out the hidden size; `width` and `count` are field names.
fn heads(config: &Config, width: &str, count: &str) -> Result<Heads> {
    let size = config.size(width, MOST_WIDTH)?;
    let heads = config.size(count, MOST_WIDTH)?;
    if !size.is_multiple_of(heads) {
        return Err(config.wrong(count, &format!("a divisor of {width} ({size})")));
    }
    Ok(Heads {
        count: heads,
        kv_count: heads,
        size: size / heads,
    })
}

/// Heads of a decoder: their size may be a field of its own, and several may share a key and value
/// head.
fn decoder_heads(config: &Config) -> Result<Heads> {
    let count = config.size("num_attention_heads", MOST_WIDTH)?;
    let kv_count = config.size_or("num_key_value_heads", count, MOST_WIDTH)?;
    if !count.is_multiple_of(kv_count) {
        return Err(config.wrong(
            "num_key_value_heads",
            &format!("a divisor of num_attention_heads ({count})"),
        ));
    }
    let size = match config.get("head_dim") {
        Some(_) => config.size("head_dim", MOST_WIDTH)?,
        None => heads(config, "hidden_size", "num_attention_heads")?.size,
    };
    if !size.is_multiple_of(2) {
        return Err(config.wrong("head_dim", "even: rotary positions turn pairs"));
    }
    let heads = Heads {
        count,
        kv_count,
        size,
    };
    bounded(config, heads, "head_dim")
}

/// Heads whose width together is not beyond any real model's.
fn bounded(config: &Config, heads: Heads, size: &str) -> Result<Heads> {
    let most = MOST_WIDTH / heads.count;
    if heads.size > most {
        return Err(config.wrong(size, &format!("at most {most} with so many heads")));
    }
    Ok(heads)
}

/// 1 / √(head size), the factor of attention's scores in all but a few families.
#[expect(clippy::cast_precision_loss, reason = "head sizes are small")]
fn attention_scale(heads: Heads) -> f32 {
    1.0 / (heads.size as f32).sqrt()
}

fn always(_: &Config) -> bool {
    true
}
