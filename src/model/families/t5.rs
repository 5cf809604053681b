//! T5's encoder (Raffel et al. 2020), of sentence-t5 and GTR: RMSNorm before each block, a relative
//! bias in place of positions, no biases, and scores that are not scaled.

use super::{
    Family, MOST_LAYERS, MOST_ROWS, MOST_WIDTH, Names, NormNames, OwnModule, always, bounded,
    encoder,
};
use crate::backend::{Gate, Heads, NormKind};
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::spec::{Biases, LayerSpec, Positions, Relative, Spec};

pub const FAMILY: Family = Family {
    name: "t5",
    model_types: &["t5", "mt5"],
    classes: &["T5", "T5Encoder", "MT5", "MT5Encoder"],
    is: always,
    prefixes: &[""],
    unused: &["decoder.", "lm_head.", "shared.", "encoder.embed_tokens."],
    code: &[],
    code_of: &[],
    spec,
    spellings: &[
        Names {
            word_embeddings: "shared.weight",
            ..NAMES
        },
        NAMES,
    ],
    mlm: None,
    classifier: None,
    judge: None,
    instruction: None,
    m3_heads: false,
    own_module: OwnModule::None,
};

const NAMES: Names = Names {
    word_embeddings: "encoder.embed_tokens.weight",
    position_embeddings: "",
    token_type_embeddings: "",
    relative_bias: "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    relative: None,
    embedding_projection: "",
    embedding_norm: None,
    layer: "encoder.block.{}.",
    qkv: &[
        "layer.0.SelfAttention.q",
        "layer.0.SelfAttention.k",
        "layer.0.SelfAttention.v",
    ],
    head_norms: None,
    wide_norms: None,
    experts: None,
    attention_output: "layer.0.SelfAttention.o",
    attention_norms: NormNames::pre("layer.0.layer_norm"),
    ffn_up: "layer.1.DenseReluDense.wi",
    ffn_gated: &["layer.1.DenseReluDense.wi_0", "layer.1.DenseReluDense.wi_1"],
    ffn_down: "layer.1.DenseReluDense.wo",
    ffn_norms: NormNames::pre("layer.1.layer_norm"),
    final_norm: Some("encoder.final_layer_norm"),
    projection: "",
    is_saved: false,
};

/// T5 has no position table; this bounds the memory of one sequence.
const MAX_POSITIONS: usize = 8192;

fn spec(config: &Config) -> Result<Spec> {
    encoder(config)?;
    let field = "feed_forward_proj";
    let default = if config.text("model_type")? == Some("mt5") {
        "gated-gelu"
    } else {
        "relu"
    };
    let kind = config.text(field)?.unwrap_or(default);
    let (gated, name) = match kind.strip_prefix("gated-") {
        // transformers takes "gated-gelu" for the tanh form.
        Some("gelu") => (true, "gelu_new"),
        Some(name) => (true, name),
        None => (false, kind),
    };
    let count = config.size("num_heads", MOST_WIDTH)?;
    let heads = Heads {
        count,
        kv_count: count,
        size: config.size("d_kv", MOST_WIDTH)?,
    };
    let max_distance = config.size_or("relative_attention_max_distance", 128, MOST_ROWS)?;
    Ok(Spec {
        vocab_size: config.size("vocab_size", MOST_ROWS)?,
        hidden_size: config.size("d_model", MOST_WIDTH)?,
        embedding_size: config.size("d_model", MOST_WIDTH)?,
        intermediate_size: config.size("d_ff", MOST_WIDTH)?,
        heads: bounded(config, heads, "d_kv")?,
        attention_scale: 1.0,
        attention_cap: None,
        layers: vec![LayerSpec::default(); config.size("num_layers", MOST_LAYERS)?],
        shared_layers: false,
        positions: Positions::None,
        relative: Some(Relative::Buckets {
            buckets: config.buckets("relative_attention_num_buckets", 32, max_distance)?,
            max_distance,
        }),
        max_positions: MAX_POSITIONS,
        token_types: None,
        embedding_scale: 1.0,
        activation: config.named_activation(field, name)?,
        gate: gated.then_some(Gate::First),
        norm: NormKind::Rms,
        norm_eps: config.epsilon("layer_norm_epsilon", 1e-6)?,
        biases: Biases::NONE,
        experts: None,
        adapters: None,
        projection: None,
    })
}
