//! Alibaba's GTE encoders (Zhang et al. 2024, mGTE), which their own files call `new`: BERT with
//! rotary positions and GeGLU, whose second half is the gate. gte-base-en-v1.5,
//! gte-multilingual-base, snowflake-arctic-embed-m-v2.0,
//! opensearch-neural-sparse-encoding-doc-v3-gte.

use super::{
    BERT_HEADS, ClassifierNames, Family, MOST_ROWS, MlmNames, Names, NormNames, OwnModule, always,
    bert,
};
use crate::backend::Gate;
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::rope::{self, plain_rope};
use crate::model::transformer::spec::{Biases, LayerSpec, Positions, Rope, RopeScaling, Spec};

pub const FAMILY: Family = Family {
    name: "gte",
    model_types: &["new", "gte"],
    classes: &["New", "Gte"],
    is: always,
    prefixes: &["", "new.", "gte."],
    unused: BERT_HEADS,
    code: &[
        "configuration.NewConfig",
        "modeling.NewModel",
        "modeling.NewForMaskedLM",
        "modeling.NewForSequenceClassification",
        "configuration_hf_alibaba_nlp_gte.GteConfig",
        "modeling_hf_alibaba_nlp_gte.GteModel",
        "modeling_hf_alibaba_nlp_gte.GteForMaskedLM",
        "modeling_hf_alibaba_nlp_gte.GteForSequenceClassification",
    ],
    code_of: &["Alibaba-NLP/"],
    spec,
    spellings: &[
        Names {
            qkv: &["attention.qkv_proj"],
            attention_output: "attention.o_proj",
            attention_norms: NormNames::post("attn_ln"),
            ffn_gated: &["mlp.up_gate_proj"],
            ffn_down: "mlp.down_proj",
            ffn_norms: NormNames::post("mlp_ln"),
            ..bert::NAMES
        },
        // As transformers has them.
        Names {
            layer: "layers.{}.",
            qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            attention_output: "self_attn.o_proj",
            attention_norms: NormNames::post("post_attention_layernorm"),
            ffn_gated: &["mlp.up_proj", "mlp.gate_proj"],
            ffn_down: "mlp.down_proj",
            ffn_norms: NormNames::post("post_mlp_layernorm"),
            ..bert::NAMES
        },
    ],
    classifier: Some(ClassifierNames::BERT),
    judge: None,
    mlm: Some(MlmNames {
        transform: "lm_head.dense",
        transform_bias: true,
        norm: "lm_head.norm",
        decoder: "lm_head.decoder.weight",
        bias: "lm_head.decoder.bias",
        activation: None,
    }),
    instruction: None,
    m3_heads: false,
    own_module: OwnModule::None,
};

fn spec(config: &Config) -> Result<Spec> {
    config.only("position_embedding_type", &["rope".into()])?;
    config.only("layer_norm_type", &["layer_norm".into()])?;
    config.only("pack_qkv", &[true.into()])?;
    for field in ["logn_attention_scale", "logn_attention_clip1"] {
        config.only(field, &[false.into()])?;
    }
    let spec = bert::without_types(config)?;
    if !spec.heads.size.is_multiple_of(2) {
        return Err(config.wrong(
            "num_attention_heads",
            "such that heads have an even size: rotary positions turn pairs",
        ));
    }
    let layer = LayerSpec {
        rope: Some(rope(config)?),
        ..LayerSpec::default()
    };
    // The only size that may be 0: no table.
    let types = match config.get("type_vocab_size").map(|types| *types == 0) {
        Some(true) => None,
        Some(false) => Some(config.size("type_vocab_size", MOST_ROWS)?),
        None => Some(1),
    };
    Ok(Spec {
        layers: vec![layer; spec.layers.len()],
        positions: Positions::None,
        token_types: types,
        gate: Some(Gate::Last),
        biases: Biases {
            ffn_up: false,
            ..Biases::ALL
        },
        ..spec
    })
}

/// Alibaba's code knows one kind of scaling, "ntk", which transformers does not have.
fn rope(config: &Config) -> Result<Rope> {
    // Of Alibaba's code, and of transformers.
    let default = if config.text("model_type")? == Some("new") {
        10_000.0
    } else {
        160_000.0
    };
    let scaling = config.get("rope_scaling");
    let kind = scaling.and_then(|scaling| scaling.get("type"));
    let Some(scaling) = scaling.filter(|_| kind.is_some_and(|kind| *kind == "ntk")) else {
        return rope::read(config, default);
    };
    let wrong = || {
        config.wrong(
            "rope_scaling",
            "an object whose type is \"ntk\" and whose factor is above 0, without mixed_b",
        )
    };
    let is_mixed = scaling.get("mixed_b").is_some_and(|value| !value.is_null());
    let factor = scaling.get("factor").and_then(serde_json::Value::as_f64);
    let factor = factor.filter(|factor| *factor > 0.0 && !is_mixed);
    let factor = factor.ok_or_else(wrong)?;
    let rope = plain_rope(config.positive("rope_theta", default)?);
    // A factor of 1 and less leaves the frequencies as they are.
    Ok(if factor > 1.0 {
        Rope {
            scaling: RopeScaling::Ntk { factor },
            ..rope
        }
    } else {
        rope
    })
}
