//! sentence-transformers' own files → the steps after the transformer, in order.
//!
//! `modules.json` lists modules by type and folder; each folder has a `config.json`. Two generations of spellings
//! are in use; both are read. Types are told by their last dotted component.

use serde_json::Value;

use super::config::Config;
use crate::backend::{Activation, Pooling};
use crate::error::{Error, Result};

/// One entry of modules.json.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Last component of the module's type.
    pub kind: String,
    /// Its folder, "" for the repository's root.
    pub path: String,
}

impl Entry {
    /// `name` in the module's folder.
    pub fn file(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.path)
        }
    }
}

/// What SPLADE applies to a logit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SparseActivation {
    /// log(1 + relu(x)), SPLADE's
    Log1pRelu,
    /// log(1 + log(1 + relu(x))), that of inference-free models
    Log1pLog1pRelu,
}

/// One step after the transformer.
#[derive(Clone, Debug, PartialEq)]
pub enum Module {
    /// Token states to one vector; several modes are concatenated.
    Pooling {
        /// In the order of the result.
        modes: Vec<Pooling>,
        /// Whether the prompt's tokens count.
        include_prompt: bool,
    },
    /// A fully connected layer.
    Dense {
        /// Folder of its weights.
        path: String,
        /// `[out, in]`
        shape: [usize; 2],
        /// Whether it has a bias.
        bias: bool,
        /// Applied to the result.
        activation: Activation,
    },
    /// Scaling to length 1.
    Normalize,
    /// Maximum over tokens of the activated logits.
    Splade(SparseActivation),
}

/// Parses modules.json.
pub fn entries(bytes: &[u8]) -> Result<Vec<Entry>> {
    const FILE: &str = "modules.json";
    let list: Vec<Value> = serde_json::from_slice(bytes).map_err(|error| {
        Error::config(
            FILE,
            format!("is not a JSON list ({error}); download it again"),
        )
    })?;
    let text =
        |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).map(str::to_owned);
    list.iter()
        .map(|entry| match (text(entry, "type"), text(entry, "path")) {
            (Some(kind), Some(path)) if is_folder(&path) => Ok(Entry {
                kind: kind.rsplit('.').next().unwrap_or_default().to_owned(),
                path,
            }),
            _ => Err(Error::config(
                FILE,
                format!("has an entry without a type and the path of a folder: {entry}"),
            )),
        })
        .collect()
}

/// Whether a path leads to a folder of the model's own: callers resolve it against an address, where `../x`, `/x` or
/// `https://x` would lead elsewhere.
fn is_folder(path: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.contains(|c: char| c.is_control() || "\\:?#%".contains(c))
    };
    path.is_empty() || path.split('/').all(plain)
}

/// Reads one module after the transformer; `config` is its config.json, where it has one.
pub fn module(entry: &Entry, config: Option<&Config>) -> Result<Module> {
    let need = || config.ok_or_else(|| Error::MissingFile(entry.file("config.json")));
    match entry.kind.as_str() {
        "Pooling" => pooling(need()?),
        "Dense" => dense(&entry.path, need()?),
        "Normalize" => Ok(Module::Normalize),
        "SpladePooling" => splade(need()?),
        other => Err(Error::UnsupportedModel(format!(
            "modules.json names a module of type {other}, which is not supported; supported are Transformer, MLMTransformer, Pooling, Dense, Normalize and SpladePooling"
        ))),
    }
}

const MODES: [(&str, &str, Pooling); 6] = [
    ("cls", "pooling_mode_cls_token", Pooling::Cls),
    ("max", "pooling_mode_max_tokens", Pooling::Max),
    ("mean", "pooling_mode_mean_tokens", Pooling::Mean),
    (
        "mean_sqrt_len_tokens",
        "pooling_mode_mean_sqrt_len_tokens",
        Pooling::MeanSqrtLen,
    ),
    (
        "weightedmean",
        "pooling_mode_weightedmean_tokens",
        Pooling::WeightedMean,
    ),
    ("lasttoken", "pooling_mode_lasttoken", Pooling::LastToken),
];

fn pooling(config: &Config) -> Result<Module> {
    let include_prompt = config.flag("include_prompt", true)?;
    let by_name = |name: &Value| {
        let mode = MODES
            .iter()
            .find(|(mode, ..)| name.as_str() == Some(mode))
            .map(|(.., mode)| *mode);
        mode.ok_or_else(|| {
            config.wrong(
                "pooling_mode",
                &format!("one of {}", MODES.map(|(mode, ..)| mode).join(", ")),
            )
        })
    };
    let mut modes: Vec<Pooling> = match config.get("pooling_mode") {
        Some(Value::Array(names)) => names.iter().map(by_name).collect::<Result<_>>()?,
        Some(name) => vec![by_name(name)?],
        None => {
            let mut modes = Vec::new();
            for (_, flag, mode) in MODES {
                if config.flag(flag, false)? {
                    modes.push(mode);
                }
            }
            modes
        }
    };
    if modes.is_empty() {
        // What sentence-transformers takes when no flag is set.
        modes.push(Pooling::Mean);
    }
    Ok(Module::Pooling {
        modes,
        include_prompt,
    })
}

fn dense(path: &str, config: &Config) -> Result<Module> {
    const MOST: usize = 1 << 16;
    let spelled = config
        .text("activation_function")?
        .unwrap_or("torch.nn.modules.activation.Tanh");
    let activation = match spelled.rsplit('.').next().unwrap_or_default() {
        "Identity" => Activation::Identity,
        "Tanh" => Activation::Tanh,
        "ReLU" => Activation::Relu,
        "GELU" => Activation::Gelu,
        "SiLU" => Activation::Silu,
        "Sigmoid" => Activation::Sigmoid,
        _ => {
            return Err(config.wrong(
                "activation_function",
                "Identity, Tanh, ReLU, GELU, SiLU or Sigmoid of torch",
            ));
        }
    };
    if config.flag("use_residual", false)? {
        return Err(config.wrong("use_residual", "false"));
    }
    for field in ["module_input_name", "module_output_name"] {
        if config
            .text(field)?
            .is_some_and(|name| name != "sentence_embedding")
        {
            return Err(config.wrong(field, "\"sentence_embedding\""));
        }
    }
    let shape = [
        config.size("out_features", MOST)?,
        config.size("in_features", MOST)?,
    ];
    Ok(Module::Dense {
        path: path.to_owned(),
        shape,
        bias: config.flag("bias", true)?,
        activation,
    })
}

fn splade(config: &Config) -> Result<Module> {
    if config
        .text("pooling_strategy")?
        .is_some_and(|strategy| strategy != "max")
    {
        return Err(config.wrong("pooling_strategy", "\"max\""));
    }
    match config.text("activation_function")?.unwrap_or("relu") {
        "relu" => Ok(Module::Splade(SparseActivation::Log1pRelu)),
        "log1p_relu" => Ok(Module::Splade(SparseActivation::Log1pLog1pRelu)),
        _ => Err(config.wrong("activation_function", "relu or log1p_relu")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, json: &str) -> Result<Module> {
        let entry = Entry {
            kind: kind.to_owned(),
            path: "1_X".to_owned(),
        };
        module(
            &entry,
            Some(&Config::parse("1_X/config.json", json.as_bytes())?),
        )
    }

    #[test]
    fn both_generations_of_pooling_are_read() {
        let mean = Module::Pooling {
            modes: vec![Pooling::Mean],
            include_prompt: true,
        };
        assert_eq!(
            read(
                "Pooling",
                r#"{"word_embedding_dimension":4,"pooling_mode_mean_tokens":true}"#
            )
            .unwrap(),
            mean
        );
        assert_eq!(
            read(
                "Pooling",
                r#"{"embedding_dimension":4,"pooling_mode":"mean"}"#
            )
            .unwrap(),
            mean
        );
        assert_eq!(read("Pooling", "{}").unwrap(), mean);
        let both = Module::Pooling {
            modes: vec![Pooling::Cls, Pooling::Mean],
            include_prompt: false,
        };
        assert_eq!(
            read(
                "Pooling",
                r#"{"pooling_mode":["cls","mean"],"include_prompt":false}"#
            )
            .unwrap(),
            both
        );
    }

    #[test]
    fn impossible_modules_say_what_would_work() {
        let message = |kind, json| read(kind, json).unwrap_err().to_string();
        assert!(
            message("Pooling", r#"{"pooling_mode":"median"}"#).contains("one of cls, max, mean")
        );
        assert!(
            message("Dense", r#"{"in_features":4,"out_features":1e12}"#)
                .contains("out_features is 1000000000000.0")
        );
        assert!(
            message(
                "Dense",
                r#"{"in_features":4,"out_features":4,"activation_function":"torch.nn.Mish"}"#
            )
            .contains("Tanh")
        );
        assert!(message("SpladePooling", r#"{"pooling_strategy":"sum"}"#).contains("\"max\""));
        assert!(message("CNN", "{}").contains("type CNN"));
    }

    #[test]
    fn module_types_are_told_by_their_last_component() {
        let list = br#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.base.modules.transformer.Transformer"}]"#;
        assert_eq!(entries(list).unwrap()[0].kind, "Transformer");
        for path in [
            "../x",
            "/x",
            "https://x",
            "a//b",
            "a/./b",
            "a\\\\b",
            "%2e%2e",
            "a?b",
        ] {
            let list = format!(r#"[{{"path":"{path}","type":"a.Pooling"}}]"#);
            let message = entries(list.as_bytes()).unwrap_err().to_string();
            assert!(message.contains("path of a folder"), "{path}: {message}");
        }
        assert!(entries(b"{}").is_err());
    }
}
