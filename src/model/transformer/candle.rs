//! Encoders that `Spec` cannot describe. candle-transformers runs them in f32, one sequence at a
//! time, in native builds only: in wasm, candle would add a third to every download (250 KB,
//! brotli), so that these families are refused there.

use crate::model::families::config::Config;

/// Values of `model_type` that candle-transformers runs.
const MODEL_TYPES: [&str; 1] = ["deberta-v2"];

/// Whether candle-transformers runs the family that a config.json names.
pub fn is_candle(config: &Config) -> bool {
    let model_type = config.get("model_type").and_then(serde_json::Value::as_str);
    model_type.is_some_and(|name| MODEL_TYPES.contains(&name))
}

/// Whether candle-transformers reads a tensor, or the tensor has no effect because it belongs to a
/// head for training.
pub fn is_known(tensor: &str) -> bool {
    const STARTS: [&str; 7] = [
        "embeddings.",
        "encoder.",
        "pooler.",
        "cls.predictions.",
        "lm_predictions.",
        "mask_predictions.",
        "lm_head.",
    ];
    let name = tensor.strip_prefix("deberta.").unwrap_or(tensor);
    STARTS.iter().any(|start| name.starts_with(start))
}

/// A tensor that is kept as the file has it, in f32.
#[cfg_attr(
    target_arch = "wasm32",
    expect(dead_code, reason = "only the native build has candle-transformers")
)]
pub struct Collected {
    /// Name in the file.
    pub name: String,
    /// Shape in the file.
    pub shape: Vec<usize>,
    /// Row by row.
    pub values: Vec<f32>,
}

#[cfg(target_arch = "wasm32")]
pub fn refuse(config: &Config) -> crate::Error {
    let model_type = config.get("model_type").map(ToString::to_string);
    crate::Error::UnsupportedModel(format!(
        "models of type {} run in native builds only; use a model of another family in the browser and in workers",
        model_type.unwrap_or_default()
    ))
}

#[cfg(not(target_arch = "wasm32"))]
pub use native::Candle;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::collections::HashMap;

    use candle_core::{DType, Device, Tensor};
    use candle_nn::VarBuilder;
    use candle_transformers::models::debertav2::{Config as DebertaConfig, DebertaV2Model};

    use super::{Collected, Config};
    use crate::error::{Error, Result, candle_message};

    /// Prefix of the tensor names of a model that was saved with a head.
    const PREFIX: &str = "deberta";

    /// DeBERTa-v2 and -v3 (He et al. 2021).
    pub struct Candle {
        config: DebertaConfig,
        /// None until the weights are loaded.
        model: Option<DebertaV2Model>,
        /// The name that `info` shows.
        pub family: &'static str,
        /// Entries of the word embedding table.
        pub vocab_size: usize,
        /// Width of a token state.
        pub hidden_size: usize,
        /// The longest sequence that the model is made for.
        pub max_positions: usize,
    }

    impl Candle {
        /// Reads config.json.
        pub fn new(config: &Config) -> Result<Self> {
            const MOST: usize = 1 << 24;
            let hidden_size = config.size("hidden_size", 1 << 16)?;
            let heads = config.size("num_attention_heads", hidden_size)?;
            if !hidden_size.is_multiple_of(heads) {
                let wanted = format!("a divisor of hidden_size ({hidden_size})");
                return Err(config.wrong("num_attention_heads", &wanted));
            }
            config.size("intermediate_size", 1 << 16)?;
            config.size("num_hidden_layers", 1024)?;
            config.activation("hidden_act", "gelu")?;
            let norms = config.text("norm_rel_ebd")?.unwrap_or("none").split('|');
            for norm in norms {
                if !matches!(norm.trim(), "none" | "layer_norm") {
                    return Err(config.wrong("norm_rel_ebd", "none or layer_norm"));
                }
            }
            for field in ["conv_kernel_size", "embedding_size", "attention_head_size"] {
                if config.get(field).is_some() {
                    return Err(config.wrong(field, "absent"));
                }
            }
            Ok(Self {
                vocab_size: config.size("vocab_size", MOST)?,
                max_positions: config.size("max_position_embeddings", MOST)?,
                config: config.parsed().map_err(|error| {
                    Error::config(
                        "config.json",
                        format!("lacks what DeBERTa-v2 needs ({error})"),
                    )
                })?,
                model: None,
                family: "deberta-v2",
                hidden_size,
            })
        }

        /// Builds the model from its tensors. `file` is the path of the weight file, for errors.
        pub fn fill(&mut self, file: &str, collected: Vec<Collected>) -> Result<()> {
            let tensors = collected
                .into_iter()
                .map(
                    |Collected {
                         name,
                         shape,
                         values,
                     }| {
                        Ok((name, Tensor::from_vec(values, shape, &Device::Cpu)?))
                    },
                )
                .collect::<Result<HashMap<_, _>>>()?;
            let prefixed = tensors.keys().any(|name| {
                name.strip_prefix(PREFIX)
                    .is_some_and(|rest| rest.starts_with('.'))
            });
            let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
            let builder = if prefixed {
                builder.pp(PREFIX)
            } else {
                builder
            };
            let model = DebertaV2Model::load(builder, &self.config).map_err(|error| {
                Error::MissingTensor {
                    file: file.to_owned(),
                    missing: candle_message(error),
                    present: "others".to_owned(),
                }
            })?;
            self.model = Some(model);
            Ok(())
        }

        /// States of one sequence's tokens, row by row, `[tokens, hidden]`.
        pub fn states(&self, ids: &[u32]) -> Result<Vec<f32>> {
            let model = self.model.as_ref().ok_or_else(|| {
                Error::Internal(
                    "the weights of a model of the candle road are not there".to_owned(),
                )
            })?;
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
            Ok(model.forward(&ids, None, None)?.flatten_all()?.to_vec1()?)
        }
    }
}
