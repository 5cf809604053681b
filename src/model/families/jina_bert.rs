//! JinaBERT (Günther et al. 2023, jina-embeddings-v2): BERT with ALiBi in place of positions, and a gated feed-forward
//! block.

use super::{Family, Names, NormNames, bert};
use crate::backend::Activation;
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::spec::{Biases, Positions, Relative, Spec};

pub const FAMILY: Family = Family {
    name: "jina_bert",
    model_types: &["bert", "jina_bert"],
    is: |config| {
        config
            .get("position_embedding_type")
            .is_some_and(|kind| kind == "alibi")
    },
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
    // Not jina-bert-v2-qk-post-norm, which has files and classes of the same names.
    code_of: &["jinaai/jina-bert-implementation"],
    spec,
    mlm: None,
    ..bert::FAMILY
};

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
        gated: true,
        biases: Biases {
            ffn_up: false,
            ..Biases::ALL
        },
        ..bert::common(config)?
    })
}
