//! NomicBERT (Nussbaum et al. 2024): BERT with rotary positions, SwiGLU and no biases but the
//! norms'.
//!
//! Its own config is in GPT-2's spelling; transformers 5 writes BERT's, and other tensor names.
//! nomic-embed-text-v2-moe (Nussbaum et al. 2025) has biases, GELU without a gate, and experts in
//! every other layer.

use super::{
    BERT_HEADS, ClassifierNames, ExpertNames, Family, MOST_LAYERS, MOST_ROWS, MOST_WIDTH, Names,
    NormNames, OwnModule, attention_scale, bert, encoder, heads,
};
use crate::backend::{Activation, Gate, NormKind};
use crate::error::Result;
use crate::full::Full;
use crate::model::families::config::Config;
use crate::model::transformer::rope;
use crate::model::transformer::spec::{Biases, Experts, LayerSpec, Positions, Spec};

pub const FAMILY: Family = Family {
    name: "nomic_bert",
    model_types: &["nomic_bert"],
    classes: &["NomicBert"],
    is: |config| !has_experts(config),
    prefixes: &["", "nomic_bert.", "bert."],
    unused: BERT_HEADS,
    code: &[
        "configuration_hf_nomic_bert.NomicBertConfig",
        "modeling_hf_nomic_bert.NomicBertModel",
        "modeling_hf_nomic_bert.NomicBertForPreTraining",
    ],
    code_of: &["nomic-ai/", "Snowflake/snowflake-arctic-embed-m-long"],
    spec,
    spellings: &[
        ORIGINAL,
        Names {
            layer: "layers.{}.",
            qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            attention_output: "self_attn.o_proj",
            attention_norms: NormNames::post("post_attention_layernorm"),
            ffn_gated: &["mlp.gate_proj", "mlp.up_proj"],
            ffn_down: "mlp.down_proj",
            ffn_norms: NormNames::post("post_mlp_layernorm"),
            ..bert::NAMES
        },
    ],
    mlm: None,
    classifier: Some(ClassifierNames::BERT),
    judge: None,
    instruction: None,
    m3_heads: false,
    own_module: OwnModule::None,
};

const ORIGINAL: Names = Names {
    embedding_norm: Some("emb_ln"),
    layer: "encoder.layers.{}.",
    qkv: &["attn.Wqkv"],
    attention_output: "attn.out_proj",
    attention_norms: NormNames::post("norm1"),
    ffn_gated: &["mlp.fc12", "mlp.fc11"],
    ffn_down: "mlp.fc2",
    ffn_norms: NormNames::post("norm2"),
    ..bert::NAMES
};

/// With experts.
pub const MOE: Family = Family {
    name: "nomic_bert_moe",
    is: has_experts,
    spec: moe,
    spellings: &[
        EXPERTS,
        Names {
            is_saved: true,
            ..EXPERTS
        },
    ],
    classifier: None,
    ..FAMILY
};

const EXPERTS: Names = Names {
    experts: Some(ExpertNames {
        router: "mlp.router.layer",
        up: "mlp.experts.mlp.w1",
        down: "mlp.experts.mlp.w2",
        bias: "mlp.experts.bias",
    }),
    ffn_up: "mlp.fc1",
    ..ORIGINAL
};

fn has_experts(config: &Config) -> bool {
    config.get("num_experts").is_some_and(|count| *count != 0)
}

fn spec(config: &Config) -> Result<Spec> {
    for field in ["qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias"] {
        if config.flag(field, false)? {
            return Err(config.wrong(field, "false"));
        }
    }
    read(config, "swiglu", Activation::Silu)
}

fn moe(config: &Config) -> Result<Spec> {
    const MOST_EXPERTS: usize = 1 << 10;
    let spec = read(config, "gelu", Activation::Gelu)?;
    for field in ["expert_choice_router", "moe_normalize_expert_weights"] {
        config.only(field, &[false.into()])?;
    }
    config.only("num_shared_experts", &[0.into()])?;
    config.only("ffn_div", &[1.into()])?;
    let count = config.size("num_experts", MOST_EXPERTS)?;
    let every = config.size("moe_every_n_layers", MOST_LAYERS)?;
    let top = config.size("moe_top_k", count)?;
    let layers = spec
        .layers
        .iter()
        .enumerate()
        .map(|(index, layer)| LayerSpec {
            experts: index % every == 1,
            ..*layer
        });
    Ok(Spec {
        gate: None,
        layers: layers.collect(),
        biases: Biases {
            qkv: config.flag("qkv_proj_bias", false)?,
            attention_output: config.flag("qkv_proj_bias", false)?,
            ffn_up: config.flag("mlp_fc1_bias", false)?,
            ffn_down: config.flag("mlp_fc2_bias", false)?,
            norm: true,
        },
        experts: Some(Full::new("experts", || Experts { count, top })?),
        ..spec
    })
}

/// Reads what both have in common. In the original spelling the activation must be `name`.
fn read(config: &Config, name: &str, original_activation: Activation) -> Result<Spec> {
    encoder(config)?;
    let original = config.get("n_embd").is_some();
    let [hidden, intermediate, layers, count, eps, activation] = if original {
        [
            "n_embd",
            "n_inner",
            "n_layer",
            "n_head",
            "layer_norm_epsilon",
            "activation_function",
        ]
    } else {
        [
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "layer_norm_eps",
            "hidden_act",
        ]
    };
    let activation = match config.text(activation)? {
        Some(own) if original && own == name => original_activation,
        _ if original => return Err(config.wrong(activation, &format!("{name:?}"))),
        _ => config.activation(activation, "silu")?,
    };
    for field in [
        "prenorm",
        "rotary_emb_interleaved",
        "use_rms_norm",
        "causal",
        "parallel_block",
        "use_xpos",
        "scale_attn_by_inverse_layer_idx",
    ] {
        if config.flag(field, false)? {
            return Err(config.wrong(field, "false"));
        }
    }
    config.only("scale_attn_weights", &[true.into()])?;
    if config.number("rotary_emb_fraction", 1.0)? < 1.0 {
        return Err(config.wrong("rotary_emb_fraction", "1.0"));
    }
    let heads = heads(config, hidden, count)?;
    if !heads.size.is_multiple_of(2) {
        return Err(config.wrong(
            count,
            "such that heads have an even size: rotary positions turn pairs",
        ));
    }
    let rope = if original {
        rope::plain_rope(config.positive("rotary_emb_base", 10_000.0)?)
    } else {
        rope::read(config, 1000.0)?
    };
    // Beyond what it was trained on the original scales its frequencies; transformers does not.
    let max_positions = if original {
        let trained = config.size_or("max_trained_positions", 2048, MOST_ROWS)?;
        config
            .size_or("n_positions", trained, MOST_ROWS)?
            .min(trained)
    } else {
        config.size_or("max_position_embeddings", 2048, MOST_ROWS)?
    };
    let layer = LayerSpec {
        rope: Some(rope),
        ..LayerSpec::default()
    };
    Ok(Spec {
        vocab_size: config.size("vocab_size", MOST_ROWS)?,
        hidden_size: config.size(hidden, MOST_WIDTH)?,
        embedding_size: config.size(hidden, MOST_WIDTH)?,
        intermediate_size: config.size(intermediate, MOST_WIDTH)?,
        heads,
        attention_scale: attention_scale(heads),
        attention_cap: None,
        layers: vec![layer; config.size(layers, MOST_LAYERS)?],
        shared_layers: false,
        positions: Positions::None,
        relative: None,
        max_positions,
        token_types: Some(config.size_or("type_vocab_size", 2, MOST_ROWS)?),
        embedding_scale: 1.0,
        activation,
        gate: Some(Gate::First),
        norm: NormKind::Layer,
        norm_eps: config.epsilon(eps, 1e-12)?,
        biases: Biases {
            norm: true,
            ..Biases::NONE
        },
        experts: None,
        adapters: None,
        projection: None,
    })
}
