//! Mistral (Jiang et al. 2023): a decoder with rotary positions, grouped queries, SwiGLU and
//! RMSNorm; e5-mistral reads the last token's state.

use serde_json::Value;

use super::{
    ClassifierNames, Family, MOST_LAYERS, MOST_ROWS, MOST_WIDTH, Names, NormNames, OwnModule,
    always, attention_scale, decoder_heads,
};
use crate::backend::{Gate, Mask, NormKind};
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::rope;
use crate::model::transformer::spec::{Biases, LayerSpec, Positions, Spec};

pub const FAMILY: Family = Family {
    name: "mistral",
    model_types: &["mistral"],
    classes: &["Mistral"],
    is: always,
    prefixes: &["", "model."],
    unused: &["lm_head.", "output.weight"],
    code: &[],
    code_of: &[],
    spec,
    spellings: &[NAMES],
    mlm: None,
    classifier: Some(ClassifierNames::DECODER),
    judge: None,
    instruction: Some("Instruct: {}\nQuery: "),
    m3_heads: false,
    own_module: OwnModule::None,
};

pub const NAMES: Names = Names {
    word_embeddings: "embed_tokens.weight",
    position_embeddings: "",
    token_type_embeddings: "",
    relative_bias: "",
    relative: None,
    embedding_projection: "",
    embedding_norm: None,
    layer: "layers.{}.",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    head_norms: None,
    wide_norms: None,
    experts: None,
    attention_output: "self_attn.o_proj",
    attention_norms: NormNames::pre("input_layernorm"),
    ffn_up: "",
    ffn_gated: &["mlp.gate_proj", "mlp.up_proj"],
    ffn_down: "mlp.down_proj",
    ffn_norms: NormNames::pre("post_attention_layernorm"),
    final_norm: Some("norm"),
    projection: "",
    is_saved: false,
};

fn spec(config: &Config) -> Result<Spec> {
    config.only("layer_types", &[])?;
    no_other_direction(config)?;
    let window = if config.is_null("sliding_window") {
        None
    } else {
        Some(config.size_or("sliding_window", 4096, MOST_ROWS)?)
    };
    let layer = LayerSpec {
        mask: mask(config, window)?,
        rope: Some(rope::read(config, 10_000.0)?),
        experts: false,
    };
    let count = config.size("num_hidden_layers", MOST_LAYERS)?;
    decoder(config, vec![layer; count])
}

/// Who sees whom in a decoder: those before it, or with `is_causal: false`, as in transformers 5.2
/// and later, all. A window then reaches as far to each side.
pub fn mask(config: &Config, window: Option<usize>) -> Result<Mask> {
    Ok(if is_causal(config)? {
        causal(window)
    } else {
        Mask {
            before: window,
            after: window,
        }
    })
}

/// Refuses a direction that transformers reads in other families only: here it leaves the decoder
/// causal.
pub fn no_other_direction(config: &Config) -> Result<()> {
    config.only("use_bidirectional_attention", &[false.into()])
}

/// Whether `is_causal` leaves a decoder causal. For transformers null is false for texts with
/// padding, and true without.
pub fn is_causal(config: &Config) -> Result<bool> {
    if config.is_null("is_causal") {
        return Err(config.wrong("is_causal", "true or false"));
    }
    config.flag("is_causal", true)
}

/// Whether `AutoModel` of the model's own code is `class`.
pub fn is_code(config: &Config, class: &str) -> bool {
    let code = config.get("auto_map").and_then(|map| map.get("AutoModel"));
    code.and_then(Value::as_str)
        .is_some_and(|place| place.ends_with(class))
}

/// Each token sees those before it, `window` with itself.
pub fn causal(window: Option<usize>) -> Mask {
    Mask {
        before: window.map(|window| window - 1),
        after: Some(0),
    }
}

/// Reads the config fields that decoders share.
pub fn decoder(config: &Config, layers: Vec<LayerSpec>) -> Result<Spec> {
    let heads = decoder_heads(config)?;
    let bias = config.flag("attention_bias", false)?;
    Ok(Spec {
        vocab_size: config.size("vocab_size", MOST_ROWS)?,
        hidden_size: config.size("hidden_size", MOST_WIDTH)?,
        embedding_size: config.size("hidden_size", MOST_WIDTH)?,
        intermediate_size: config.size("intermediate_size", MOST_WIDTH)?,
        heads,
        attention_scale: attention_scale(heads),
        attention_cap: None,
        layers,
        shared_layers: false,
        positions: Positions::None,
        relative: None,
        max_positions: config.size_or("max_position_embeddings", 32_768, MOST_ROWS)?,
        token_types: None,
        embedding_scale: 1.0,
        activation: config.activation("hidden_act", "silu")?,
        gate: Some(Gate::First),
        norm: NormKind::Rms,
        norm_eps: config.epsilon("rms_norm_eps", 1e-6)?,
        biases: Biases {
            qkv: bias,
            attention_output: bias,
            ..Biases::NONE
        },
        experts: None,
        adapters: None,
        projection: None,
    })
}
