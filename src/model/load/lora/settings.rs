//! Reads `adapter_config.json`. Every field that changes results is obeyed, or refused by its name.

use serde_json::{Value, json};

use super::targets::{Names, Targets, names};
use crate::error::{Error, Result};
use crate::model::families::config::Config;

/// The largest rank.
const MOST_RANK: usize = 1 << 14;

/// What is known about the adapter that was merged into a model's weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoraInfo {
    /// The name that the caller gave it.
    pub adapter: String,
    /// The model that it was trained on, as its settings name it.
    pub base: Option<String>,
    /// Its rank, where its settings name no other for a module.
    pub rank: usize,
}

impl LoraInfo {
    /// As the mark of a saved model has it.
    pub fn write(&self) -> Value {
        json!({ "adapter": self.adapter, "base": self.base, "rank": self.rank })
    }

    /// Reads what [`Self::write`] wrote.
    pub fn read(config: &Config, value: &Value) -> Result<Self> {
        let text = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
        let rank = value.get("rank").and_then(Value::as_u64);
        let rank = rank.and_then(|rank| usize::try_from(rank).ok());
        match (text("adapter"), rank) {
            (Some(adapter), Some(rank)) => Ok(Self {
                adapter,
                base: text("base"),
                rank,
            }),
            _ => Err(config.wrong("gossamer", "as `save` writes it")),
        }
    }
}

/// Which biases of the base the adapter has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bias {
    None,
    All,
    Adapted,
}

/// What an adapter's settings say.
pub struct Settings {
    /// Path of the file.
    path: String,
    /// The model that it was trained on.
    pub base: Option<String>,
    /// Rank of all modules that have none of their own.
    pub rank: usize,
    alpha: f64,
    ranks: Vec<(Names, f64)>,
    alphas: Vec<(Names, f64)>,
    by_root: bool,
    /// Whether rows are scaled to a length of their own (`DoRA`, Liu et al. 2024).
    pub has_lengths: bool,
    bias: Bias,
    saved: Vec<String>,
    targets: Targets,
}

/// Fields that are read here, and those without effect on results or on a merged linear module.
const KNOWN: &str = "alpha_pattern base_model_name_or_path bias exclude_modules init_lora_weights layers_pattern \
    layers_to_transform lora_alpha modules_to_save peft_type r rank_pattern target_modules use_dora use_rslora \
    auto_mapping corda_config eva_config fan_in_fan_out inference_mode loftq_config lora_dropout lora_ga_config \
    megatron_core peft_version qalora_group_size revision runtime_config task_type";

impl Settings {
    /// Reads the file.
    pub fn read(config: &Config) -> Result<Self> {
        match config.text("peft_type")? {
            Some("LORA") => {}
            Some(other) => {
                return Err(Error::UnsupportedModel(format!(
                    "{}: the adapter is of the type {other} (peft_type), and only LORA is supported; merge it with PEFT (merge_and_unload), and load the result",
                    config.name()
                )));
            }
            None => return Err(config.wrong("peft_type", "\"LORA\"")),
        }
        let is_off = |value: &Value| match value {
            Value::Bool(is_on) => !is_on,
            Value::Array(list) => list.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => false,
        };
        for field in config.fields() {
            let is_known = KNOWN.split(' ').any(|known| known == field);
            if !is_known && !config.get(field).is_none_or(is_off) {
                return Err(config.wrong(
                    field,
                    "absent: it is not supported; merge the adapter with PEFT (merge_and_unload), and load the result",
                ));
            }
        }
        // Others change the weights of the base.
        config.only(
            "init_lora_weights",
            &[
                true.into(),
                false.into(),
                "gaussian".into(),
                "eva".into(),
                "orthogonal".into(),
            ],
        )?;
        let bias = match config.text("bias")? {
            None | Some("none") => Bias::None,
            Some("all") => Bias::All,
            Some("lora_only") => Bias::Adapted,
            Some(_) => return Err(config.wrong("bias", "\"none\", \"all\" or \"lora_only\"")),
        };
        Ok(Self {
            path: config.name().to_owned(),
            base: config.text("base_model_name_or_path")?.map(str::to_owned),
            rank: config.size_or("r", 8, MOST_RANK)?,
            alpha: config.number("lora_alpha", 8.0)?,
            ranks: patterns(config, "rank_pattern")?,
            alphas: patterns(config, "alpha_pattern")?,
            by_root: config.flag("use_rslora", false)?,
            has_lengths: config.flag("use_dora", false)?,
            bias,
            saved: names(config, "modules_to_save")?,
            targets: Targets::read(config)?,
        })
    }

    /// Checks the rank of a module's matrices, and returns the factor of their product.
    pub fn scale(&self, module: &str, rank: usize) -> Result<f32> {
        let of = |all: &[(Names, f64)], default: f64| -> Result<f64> {
            for (names, value) in all {
                if names.match_end(module)? {
                    return Ok(*value);
                }
            }
            Ok(default)
        };
        #[expect(clippy::cast_precision_loss, reason = "ranks are small")]
        let (own, stated) = (rank as f64, of(&self.ranks, self.rank as f64)?);
        if (own - stated).abs() > 0.0 {
            let reason = format!("the rank of {module} is {stated}, and its matrices have {rank}");
            return Err(Error::config(&self.path, reason));
        }
        let alpha = of(&self.alphas, self.alpha)?;
        let divisor = if self.by_root { own.sqrt() } else { own };
        #[expect(clippy::cast_possible_truncation, reason = "f32, as in the reference")]
        Ok((alpha / divisor) as f32)
    }

    /// Refuses a module that PEFT would not adapt with these settings.
    pub fn check_target(&self, module: &str) -> Result<()> {
        if self.targets.has(module)? && !self.is_saved(module) {
            return Ok(());
        }
        let reason = format!(
            "the adapter has matrices for {module}, which the settings leave out (target_modules, exclude_modules, layers_to_transform, modules_to_save): PEFT would ignore them"
        );
        Err(Error::config(&self.path, reason))
    }

    /// Whether the adapter may have the parameter `name` of the base in its place.
    pub fn replaces(&self, name: &str) -> Result<bool> {
        let Some((module, parameter)) = name.rsplit_once('.') else {
            return Ok(false);
        };
        Ok(self.is_saved(module)
            || (parameter == "bias"
                && match self.bias {
                    Bias::None => false,
                    Bias::All => true,
                    Bias::Adapted => self.targets.has(module)?,
                }))
    }

    fn is_saved(&self, module: &str) -> bool {
        let around = format!(".{module}.");
        self.saved
            .iter()
            .any(|name| around.contains(&format!(".{name}.")))
    }
}

/// An object of numbers by the pattern of modules.
fn patterns(config: &Config, field: &str) -> Result<Vec<(Names, f64)>> {
    let wrong = || config.wrong(field, "an object of numbers by the name of a module");
    let Some(object) = config.get(field) else {
        return Ok(Vec::new());
    };
    let object = object.as_object().ok_or_else(wrong)?;
    let pairs = object.iter().map(|(pattern, value)| {
        let value = value.as_f64().ok_or_else(wrong)?;
        Ok((Names::pattern(config, field, pattern)?, value))
    });
    pairs.collect()
}
