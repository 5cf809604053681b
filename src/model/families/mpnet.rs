//! MPNet (Song et al. 2020): BERT with RoBERTa's positions, and T5's relative bias shared by all
//! layers.

use super::{
    BERT_HEADS, ClassifierNames, Family, Names, NormNames, OwnModule, always, bert, roberta,
};
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::spec::{Relative, Spec};

pub const FAMILY: Family = Family {
    name: "mpnet",
    model_types: &["mpnet"],
    classes: &["MPNet"],
    is: always,
    prefixes: &["", "mpnet."],
    unused: BERT_HEADS,
    code: &[],
    code_of: &[],
    spec,
    spellings: &[Names {
        relative_bias: "encoder.relative_attention_bias.weight",
        qkv: &["attention.attn.q", "attention.attn.k", "attention.attn.v"],
        attention_output: "attention.attn.o",
        attention_norms: NormNames::post("attention.LayerNorm"),
        ..bert::NAMES
    }],
    mlm: Some(roberta::LM_HEAD),
    classifier: Some(ClassifierNames::ROBERTA),
    judge: None,
    instruction: None,
    m3_heads: false,
    own_module: OwnModule::None,
};

/// Both are fixed in the reference, whatever the config says.
const PADDING: u32 = 1;
const MAX_DISTANCE: usize = 128;

fn spec(config: &Config) -> Result<Spec> {
    let spec = Spec {
        relative: Some(Relative::Buckets {
            buckets: config.buckets("relative_attention_num_buckets", 32, MAX_DISTANCE)?,
            max_distance: MAX_DISTANCE,
        }),
        token_types: None,
        ..bert::common(config)?
    };
    Ok(roberta::after_padding(spec, PADDING))
}
