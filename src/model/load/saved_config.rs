//! The config.json of a saved model: how its weights are quantised, in compressed-tensors' terms,
//! and our own mark.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::backend::{GROUP, WeightDtype};
use crate::error::{Error, Result};
use crate::model::families::config::Config;
use crate::model::info::Info;
use crate::model::load::marker::MARKER;
use crate::model::load::saved_file::CodedModule;

/// The config of a saved encoder, made from the original's.
pub fn config(path: &str, bytes: &[u8], modules: &[CodedModule], info: &Info) -> Result<Vec<u8>> {
    let mut config = Config::parse(path, bytes)?.into_fields();
    // How the original was quantised; `quantization` is MLX's name for it.
    for field in ["quantization_config", "quantization", "torch_dtype", MARKER] {
        config.remove(field);
    }
    // The dtype of scales and of unquantised tensors. Python would round them with any other.
    config.insert("dtype".to_owned(), json!("float32"));
    if !modules.is_empty() {
        config.insert(
            "quantization_config".to_owned(),
            quantization_config(modules),
        );
    }
    // A model in f32 has the weights of the original.
    if info.dtype != WeightDtype::F32 {
        let fingerprint = format!("{:016x}", info.fingerprint);
        let mut marker = json!({ "dtype": info.dtype.name(), "fingerprint": fingerprint });
        if let Some(kind) = info.kind {
            marker["kind"] = kind.name().into();
        }
        config.insert(MARKER.to_owned(), marker);
    }
    let text = serde_json::to_string_pretty(&Value::Object(config));
    let text = text.map_err(|error| Error::Internal(error.to_string()))?;
    Ok((text + "\n").into_bytes())
}

/// compressed-tensors' description of the modules.
fn quantization_config(modules: &[CodedModule]) -> Value {
    let targets = |chosen: &dyn Fn(&CodedModule) -> bool| -> Vec<&str> {
        let chosen = modules.iter().filter(|module| chosen(module));
        let patterns: BTreeSet<&str> = chosen.map(|module| module.pattern.as_str()).collect();
        patterns.into_iter().collect()
    };
    let mut groups = Map::new();
    for (dtype, bits, format) in [
        (WeightDtype::Q8, 8, "int-quantized"),
        (WeightDtype::Q4, 4, "pack-quantized"),
    ] {
        let targets = targets(&|module| module.dtype == dtype);
        if !targets.is_empty() {
            let weights = json!({
                "num_bits": bits,
                "type": "int",
                "symmetric": true,
                "strategy": "group",
                "group_size": GROUP,
            });
            let group = json!({ "format": format, "targets": targets, "weights": weights });
            groups.insert(dtype.name().to_owned(), group);
        }
    }
    let formats: Vec<&Value> = groups.values().map(|group| &group["format"]).collect();
    let format = match formats.as_slice() {
        [one] => (*one).clone(),
        _ => json!("mixed-precision"),
    };
    let mut apply = Vec::new();
    for (is_table, location) in [(false, "input"), (true, "output")] {
        let targets = targets(&|module| module.is_table == is_table);
        if !targets.is_empty() {
            apply.push(json!({ "targets": targets, "location": location }));
        }
    }
    let hadamard = json!({ "type": "hadamard", "head_dim": GROUP, "apply": apply });
    json!({
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "format": format,
        "config_groups": groups,
        "ignore": [],
        "transform_config": { "config_groups": { "hadamard": hadamard } },
    })
}
