//! JinaBERT (Günther et al. 2023, jina-embeddings-v2): BERT with ALiBi in place of positions, and a
//! gated feed-forward block. The models for code and for two languages have norms of queries and
//! keys besides, and the residual of attention twice.

use super::{Family, Names, NormNames, bert};
use crate::backend::{Activation, Gate};
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::spec::{Biases, Positions, Relative, Spec};
use serde_json::Value;

pub const FAMILY: Family = Family {
    name: "jina_bert",
    model_types: &["bert", "jina_bert"],
    classes: &["JinaBert"],
    is: |config| is_alibi(config) && !is_qk(config),
    spellings: &[Names {
        ffn_gated: &["mlp.gated_layers"],
        ffn_down: "mlp.wo",
        ffn_norms: NormNames::post("mlp.layernorm"),
        ..bert::NAMES
    }],
    // transformers has no class for it to compare with.
    classifier: None,
    code: &[
        "configuration_bert.JinaBertConfig",
        "modeling_bert.JinaBertModel",
        "modeling_bert.JinaBertForMaskedLM",
    ],
    code_of: &["jinaai/jina-bert-implementation"],
    spec,
    mlm: None,
    ..bert::FAMILY
};

/// The second implementation, whose files and classes have the names of the first.
pub const QK: Family = Family {
    name: "jina_bert_qk",
    is: |config| is_alibi(config) && is_qk(config),
    spellings: &[Names {
        wide_norms: Some(["attention.self.layer_norm_q", "attention.self.layer_norm_k"]),
        attention_norms: NormNames {
            branch: Some("attention.output.LayerNorm"),
            branch_adds: true,
            ..NormNames::post("layer_norm_1")
        },
        ffn_gated: &["mlp.up_gated_layer"],
        ffn_down: "mlp.down_layer",
        ffn_norms: NormNames::post("layer_norm_2"),
        ..bert::NAMES
    }],
    code_of: &[QK_CODE],
    spec: |config| {
        Ok(Spec {
            gate: Some(Gate::Last),
            ..spec(config)?
        })
    },
    ..FAMILY
};

/// The repository of its code.
const QK_CODE: &str = "jinaai/jina-bert-v2-qk-post-norm";

fn is_alibi(config: &Config) -> bool {
    config
        .get("position_embedding_type")
        .is_some_and(|kind| kind == "alibi")
}

/// Only the name of its code tells it from the first implementation.
fn is_qk(config: &Config) -> bool {
    let code = config.get("auto_map").and_then(|map| map.get("AutoModel"));
    [config.get("_name_or_path"), code]
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .any(|name| name.split("--").next() == Some(QK_CODE))
}

fn spec(config: &Config) -> Result<Spec> {
    let activation = match config.text("feed_forward_type")?.unwrap_or("geglu") {
        "geglu" => Activation::Gelu,
        "reglu" => Activation::Relu,
        _ => return Err(config.wrong("feed_forward_type", "geglu or reglu")),
    };
    Ok(Spec {
        positions: Positions::None,
        relative: Some(Relative::Alibi),
        activation,
        gate: Some(Gate::First),
        biases: Biases {
            ffn_up: false,
            ..Biases::ALL
        },
        ..bert::common(config)?
    })
}
