//! Jina's XLM-RoBERTa (Sturua et al. 2024, jina-embeddings-v3): other tensor names, rotary
//! positions in place of learned ones, and in jina-embeddings-v3 adapters of low rank, a set for
//! each of several tasks.

use super::{
    BERT_HEADS, ClassifierNames, Family, MOST_ROWS, MOST_WIDTH, Names, NormNames, OwnModule, bert,
    roberta,
};
use crate::error::Result;
use crate::full::Full;
use crate::model::families::config::Config;
use crate::model::transformer::rope;
use crate::model::transformer::spec::{Adapters, LayerSpec, Positions, Spec};
use serde_json::Value;

pub const FAMILY: Family = Family {
    name: "xlm_roberta_flash",
    model_types: &["xlm-roberta", "xlm-roberta-flash", NATIVE],
    classes: &["XLMRoberta", "JinaEmbeddingsV3"],
    is,
    prefixes: &["", "roberta."],
    unused: BERT_HEADS,
    code: &[
        "configuration_xlm_roberta.XLMRobertaFlashConfig",
        "modeling_xlm_roberta.XLMRobertaModel",
        "modeling_xlm_roberta.XLMRobertaForMaskedLM",
        "modeling_xlm_roberta.XLMRobertaForSequenceClassification",
        "modeling_lora.XLMRobertaLoRA",
    ],
    code_of: &["jinaai/"],
    spec,
    spellings: &[
        PUBLISHED,
        Names {
            is_saved: true,
            ..PUBLISHED
        },
        // As transformers has them.
        Names {
            layer: "layers.{}.",
            qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            attention_output: "self_attn.o_proj",
            attention_norms: NormNames::post("post_attention_layernorm"),
            ffn_up: "mlp.fc1",
            ffn_down: "mlp.fc2",
            ffn_norms: NormNames::post("post_mlp_layernorm"),
            ..bert::NAMES
        },
    ],
    mlm: None,
    classifier: Some(ClassifierNames::ROBERTA),
    instruction: None,
    judge: None,
    m3_heads: false,
    own_module: OwnModule::Tasks,
};

/// The name that transformers has for the family.
const NATIVE: &str = "jina_embeddings_v3";

const PUBLISHED: Names = Names {
    embedding_norm: Some("emb_ln"),
    layer: "encoder.layers.{}.",
    qkv: &["mixer.Wqkv"],
    attention_output: "mixer.out_proj",
    attention_norms: NormNames::post("norm1"),
    ffn_up: "mlp.fc1",
    ffn_down: "mlp.fc2",
    ffn_norms: NormNames::post("norm2"),
    ..bert::NAMES
};

/// Whether it is not the XLM-RoBERTa of transformers, whose `model_type` it shares.
fn is(config: &Config) -> bool {
    let is = |field: &str, value: &str| config.get(field).is_some_and(|own| *own == value);
    let code = config.get("auto_map").and_then(|map| map.get("AutoConfig"));
    !is("model_type", "xlm-roberta")
        || is("position_embedding_type", "rotary")
        || code
            .and_then(Value::as_str)
            .is_some_and(|place| place.ends_with("XLMRobertaFlashConfig"))
}

fn spec(config: &Config) -> Result<Spec> {
    for field in ["use_reg_tokens", "prenorm", "parallel_block"] {
        config.only(field, &[false.into()])?;
    }
    let is_native = config.text("model_type")? == Some(NATIVE);
    let rope = match config.text("position_embedding_type")? {
        None | Some("rotary") if is_native => rope::read(config, 20_000.0)?,
        Some("rotary") => rope::plain_rope(config.positive("rotary_emb_base", 10_000.0)?),
        None | Some("absolute") => return roberta::spec(config),
        Some(_) => {
            return Err(config.wrong("position_embedding_type", "\"rotary\" or \"absolute\""));
        }
    };
    let spec = bert::common(config)?;
    if !spec.heads.size.is_multiple_of(2) {
        return Err(config.wrong(
            "num_attention_heads",
            "such that heads have an even size: rotary positions turn pairs",
        ));
    }
    let layer = LayerSpec {
        rope: Some(rope),
        ..LayerSpec::default()
    };
    Ok(Spec {
        layers: vec![layer; spec.layers.len()],
        positions: Positions::None,
        adapters: adapters(config)?,
        ..spec
    })
}

/// The tasks that a model has adapters for.
fn adapters(config: &Config) -> Result<Option<Full<Adapters>>> {
    const FIELD: &str = "lora_adaptations";
    const MOST: usize = 64;
    let Some(names) = config.get(FIELD) else {
        return Ok(None);
    };
    config.only("load_trained_adapters", &[true.into()])?;
    let names = names.as_array().into_iter().flatten();
    let tasks: Option<Vec<String>> = names
        .map(|name| Some(name.as_str()?.to_owned()).filter(|name| !name.is_empty()))
        .collect();
    let differ = |tasks: &Vec<String>| (1..tasks.len()).all(|at| !tasks[..at].contains(&tasks[at]));
    let tasks = tasks
        .filter(|tasks| (1..=MOST).contains(&tasks.len()) && differ(tasks))
        .ok_or_else(|| config.wrong(FIELD, &format!("a list of up to {MOST} names that differ")))?;
    let rank = config.size_or("lora_rank", 4, MOST_WIDTH.min(MOST_ROWS))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "f32, as in the reference"
    )]
    let scale = (config.positive("lora_alpha", 1.0)? / rank as f64) as f32;
    let adapters = Adapters { rank, scale, tasks };
    Full::new("adapters of tasks", || adapters).map(Some)
}
