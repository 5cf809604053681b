//! What config.json says about quantised weights (`quantization_config`).

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::families::config::Config;
use crate::weights::quantized::Quantization;

/// Reads `quantization_config`. A method that is not implemented is an error. `is_own` is whether
/// Gossamer saved the model; only then may the config have transforms of activations.
pub fn read(config: &Config, path: &str, is_own: bool) -> Result<Quantization> {
    let gptq_v2 = is_gptq_v2(config, path)?;
    if !is_own {
        refuse_transforms(config, path)?;
    }
    Ok(Quantization {
        gptq_v2,
        own_grid: is_own,
    })
}

/// Whether the checkpoint is of GPTQ's second version.
fn is_gptq_v2(config: &Config, path: &str) -> Result<bool> {
    /// The methods whose layouts `weights::quantized` reads. MLX does not name itself.
    const METHODS: [&str; 7] = [
        "compressed-tensors",
        "gptq",
        "awq",
        "bitsandbytes",
        "fp8",
        "quanto",
        "torchao",
    ];
    let Some(quantization) = config.get("quantization_config") else {
        return Ok(false);
    };
    let text = |field: &str| quantization.get(field).and_then(Value::as_str);
    match text("quant_method") {
        Some(other) if !METHODS.contains(&other) => Err(Error::config(
            path.to_owned(),
            format!(
                "the weights are quantised with {other}, which cannot be read; use a checkpoint in 16 bits or one of {}",
                METHODS.join(", ")
            ),
        )),
        _ => Ok(text("checkpoint_format") == Some("gptq_v2")),
    }
}

/// Refuses weights that need transformed activations.
fn refuse_transforms(config: &Config, path: &str) -> Result<()> {
    let groups = config.get("quantization_config").and_then(|quantization| {
        quantization
            .get("transform_config")?
            .get("config_groups")?
            .as_object()
    });
    let places = groups.into_iter().flat_map(serde_json::Map::values);
    let mut places = places
        .filter_map(|group| group.get("apply")?.as_array())
        .flatten();
    // Transforms in other places are part of the stored weights already.
    let fused = ["weight_input", "weight_output"];
    let online = |place: &Value| {
        let location = place.get("location").and_then(Value::as_str);
        location.is_none_or(|location| !fused.contains(&location))
    };
    if places.any(online) {
        return Err(Error::config(
            path.to_owned(),
            "quantization_config has a transform_config for activations, which only models that Gossamer saved may have; use a checkpoint without it",
        ));
    }
    Ok(())
}
