//! Qwen2 (Yang et al. 2024), of the mxbai-rerank-v2 models too: Mistral's decoder with biases of
//! queries, keys and values. The code of the gte-Qwen2 models, which `stella_en_1.5B_v5` has too,
//! is the same with attention in both directions.

use super::{Family, Judge, always, mistral, qwen3};
use crate::backend::Mask;
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::spec::{Biases, Spec};

pub const FAMILY: Family = Family {
    name: "qwen2",
    model_types: &["qwen2"],
    classes: &["Qwen2"],
    is: always,
    code: &[OWN_CODE],
    code_of: &["Alibaba-NLP/", "NovaSearch/"],
    spec,
    // Of mxbai-rerank-v2.
    judge: Some(&Judge {
        question: &[
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
            "query: {query}",
            "\n",
            "document: {document}",
            "\n",
            "You are a search relevance expert who evaluates how well documents match search queries. For each query-document pair, carefully analyze the semantic relationship between them, then provide your binary relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:",
            "<|im_end|>\n<|im_start|>assistant\n",
        ],
        prompted: "instruction: {prompt}\nquery: {query}",
        answers: ["1", "0"],
        sigmoid: false,
    }),
    ..mistral::FAMILY
};

/// Alibaba's code, whose attention is bidirectional whatever the config says.
const OWN_CODE: &str = "modeling_qwen.Qwen2Model";

fn spec(config: &Config) -> Result<Spec> {
    let field = "num_key_value_heads";
    if config.get(field).is_none() && !config.is_null(field) {
        // The reference takes 32 then, whatever the number of heads.
        return Err(config.wrong(field, "a whole number"));
    }
    let mut layers = qwen3::layers(config)?;
    if mistral::is_code(config, OWN_CODE) {
        config.only("use_sliding_window", &[false.into()])?;
        for layer in &mut layers {
            layer.mask = Mask::default();
        }
    }
    let spec = mistral::decoder(config, layers)?;
    Ok(Spec {
        // These are no matter of `attention_bias`.
        biases: Biases {
            qkv: true,
            ..Biases::NONE
        },
        ..spec
    })
}
