//! The config.json of a saved model: how its weights are quantised, and our own mark.

use serde_json::{Value, json};

use crate::backend::WeightDtype;
use crate::error::{Error, Result};
use crate::model::families::config::Config;
use crate::model::info::Info;
use crate::model::load::marker::{LORA, MARKER};
use crate::weights::quantized::levels;
use crate::weights::quantized::own_grid::{self, Module};

/// The config of a saved encoder, made from the original's.
pub fn config(path: &str, bytes: &[u8], modules: &[Module], info: &Info) -> Result<Vec<u8>> {
    let mut config = Config::parse(path, bytes)?.into_fields();
    // How the original was quantised; `quantization` is MLX's name for it.
    for field in ["quantization_config", "quantization", "torch_dtype", MARKER] {
        config.remove(field);
    }
    // The dtype of scales and of unquantised tensors. Python would round them with any other.
    config.insert("dtype".to_owned(), json!("float32"));
    if !modules.is_empty() {
        let quantization = if info.dtype == WeightDtype::Q6 {
            levels::quantization_config()
        } else {
            own_grid::quantization_config(modules)
        };
        config.insert("quantization_config".to_owned(), quantization);
    }
    // A model in f32 has the weights of the original. What it is says the mark of one that was
    // insisted on, or that has an adapter.
    if info.dtype != WeightDtype::F32 || info.kind.is_some() || info.lora.is_some() {
        let fingerprint = format!("{:016x}", info.fingerprint);
        let mut marker = json!({ "dtype": info.dtype.name(), "fingerprint": fingerprint });
        if let Some(kind) = info.kind {
            marker["kind"] = kind.name().into();
        }
        if let Some(lora) = &info.lora {
            marker[LORA] = lora.write();
        }
        config.insert(MARKER.to_owned(), marker);
    }
    let text = serde_json::to_string_pretty(&Value::Object(config));
    let text = text.map_err(|error| Error::Internal(error.to_string()))?;
    Ok((text + "\n").into_bytes())
}
