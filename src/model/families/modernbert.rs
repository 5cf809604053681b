//! ModernBERT (Warner et al. 2024): rotary positions, GeGLU, no biases, and attention that is
//! global in every third layer and local in the others.

use super::{
    ClassifierNames, Family, MOST_LAYERS, MOST_ROWS, MOST_WIDTH, MlmNames, Names, NormNames,
    OwnModule, always, attention_scale, encoder, heads,
};
use crate::backend::{Activation, Gate, Mask, NormKind, Pooling};
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::rope::{LayerKind, Ropes};
use crate::model::transformer::spec::{Biases, LayerSpec, Positions, Spec};

pub const FAMILY: Family = Family {
    name: "modernbert",
    model_types: &["modernbert"],
    classes: &["ModernBert"],
    is: always,
    prefixes: &["", "model."],
    unused: &["head.", "decoder."],
    code: &[],
    code_of: &[],
    spec,
    spellings: &[Names {
        word_embeddings: "embeddings.tok_embeddings.weight",
        position_embeddings: "",
        token_type_embeddings: "",
        relative_bias: "",
        relative: None,
        embedding_projection: "",
        embedding_norm: Some("embeddings.norm"),
        layer: "layers.{}.",
        qkv: &["attn.Wqkv"],
        head_norms: None,
        wide_norms: None,
        experts: None,
        attention_output: "attn.Wo",
        attention_norms: NormNames {
            before_skips_first: true,
            ..NormNames::pre("attn_norm")
        },
        ffn_up: "",
        ffn_gated: &["mlp.Wi"],
        ffn_down: "mlp.Wo",
        ffn_norms: NormNames::pre("mlp_norm"),
        final_norm: Some("final_norm"),
        projection: "",
        is_saved: false,
    }],
    mlm: Some(MlmNames {
        transform: "head.dense",
        transform_bias: false,
        norm: "head.norm",
        decoder: "decoder.weight",
        bias: "decoder.bias",
        activation: Some(Activation::Gelu),
    }),
    classifier: Some(ClassifierNames {
        pooling: classifier_pooling,
        dense: Some("head.dense"),
        activation: Activation::Gelu,
        norm: Some("head.norm"),
        output: "classifier",
    }),
    judge: None,
    instruction: None,
    m3_heads: false,
    own_module: OwnModule::None,
};

/// What the head for sequence classification reads.
fn classifier_pooling(config: &Config) -> Result<Pooling> {
    match config.text("classifier_pooling")? {
        None | Some("cls") => Ok(Pooling::Cls),
        Some("mean") => Ok(Pooling::Mean),
        Some(_) => Err(config.wrong("classifier_pooling", "\"cls\" or \"mean\"")),
    }
}

fn spec(config: &Config) -> Result<Spec> {
    encoder(config)?;
    let heads = heads(config, "hidden_size", "num_attention_heads")?;
    if !heads.size.is_multiple_of(2) {
        return Err(config.wrong(
            "num_attention_heads",
            "such that heads have an even size: rotary positions turn pairs",
        ));
    }
    if config.flag("classifier_bias", false)? {
        return Err(config.wrong("classifier_bias", "false"));
    }
    if config.activation("classifier_activation", "gelu")? != Activation::Gelu {
        return Err(config.wrong("classifier_activation", "\"gelu\""));
    }
    let count = config.size("num_hidden_layers", MOST_LAYERS)?;
    let global_every = config.size_or("global_attn_every_n_layers", 3, MOST_LAYERS)?;
    let kinds = LayerKind::read(config, count, |layer| layer.is_multiple_of(global_every))?;
    let ropes = Ropes::read(
        config,
        ("global_rope_theta", 160_000.0),
        ("local_rope_theta", 10_000.0),
        true,
    )?;
    // The whole window, a half to each side; `sliding_window` is that half.
    let reach = config.size_or("local_attention", 128, MOST_ROWS)? / 2;
    let reach = config.size_or("sliding_window", reach, MOST_ROWS)?;
    let layers = kinds.into_iter().map(|kind| LayerSpec {
        mask: match kind {
            LayerKind::Full => Mask::default(),
            LayerKind::Sliding => Mask {
                before: Some(reach),
                after: Some(reach),
            },
        },
        rope: Some(ropes.of(kind)),
        experts: false,
    });
    let bias = config.flag("attention_bias", false)?;
    let ffn_bias = config.flag("mlp_bias", false)?;
    Ok(Spec {
        vocab_size: config.size("vocab_size", MOST_ROWS)?,
        hidden_size: config.size("hidden_size", MOST_WIDTH)?,
        embedding_size: config.size("hidden_size", MOST_WIDTH)?,
        intermediate_size: config.size("intermediate_size", MOST_WIDTH)?,
        heads,
        attention_scale: attention_scale(heads),
        attention_cap: None,
        layers: layers.collect(),
        shared_layers: false,
        positions: Positions::None,
        relative: None,
        max_positions: config.size_or("max_position_embeddings", 8192, MOST_ROWS)?,
        token_types: None,
        embedding_scale: 1.0,
        activation: config.activation("hidden_activation", "gelu")?,
        gate: Some(Gate::First),
        norm: NormKind::Layer,
        // transformers does not read layer_norm_eps, which published configs have, too.
        norm_eps: config.epsilon("norm_eps", 1e-5)?,
        biases: Biases {
            qkv: bias,
            attention_output: bias,
            ffn_up: ffn_bias,
            ffn_down: ffn_bias,
            norm: config.flag("norm_bias", false)?,
        },
        experts: None,
        adapters: None,
        projection: None,
    })
}
