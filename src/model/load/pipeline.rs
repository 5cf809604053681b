//! Reads sentence-transformers' own files: the routes through a model and the steps after the
//! transformer.
//!
//! `modules.json` lists modules by type and folder; each folder has a `config.json`. A Router
//! module has lists of its own, one for queries and one for documents. Files spell the fields in
//! two ways, an older and a newer one; both are read. The last dotted component of a type
//! identifies it.

use serde_json::{Map, Value};

use crate::backend::{Activation, Pooling, Splade, SpladeActivation, SpladeStrategy};
use crate::error::{Error, Result};
use crate::model::families::config::{self, Config};

/// The module of jina-embeddings-v3's own code, a Transformer that takes the name of a task.
pub const TASKS: &str = "custom_st.Transformer";
/// The module of pplx-embed's own code, which rounds vectors to whole numbers.
const QUANTIZER: &str = "st_quantize.FlexibleQuantizer";

/// One entry of modules.json.
#[derive(Clone, Debug)]
pub struct ModuleEntry {
    /// Last component of the module's type, or the whole of a model's own code.
    pub kind: String,
    /// Its folder; "" for the root of the repository.
    pub path: String,
    /// Whether it is `PyLate`'s.
    pub is_pylate: bool,
}

impl ModuleEntry {
    /// A module by the full name of its type. `None` for a module that does not change vectors.
    fn new(kind: &str, path: String) -> Result<Option<Self>> {
        let is_pylate = kind == PYLATE;
        let is_known = [PYLATE, TASKS, QUANTIZER].contains(&kind);
        if !is_known && !kind.starts_with("sentence_transformers.") {
            return Err(unsupported(kind));
        }
        let kind = if [TASKS, QUANTIZER].contains(&kind) {
            kind.to_owned()
        } else {
            kind.rsplit('.').next().unwrap_or_default().to_owned()
        };
        Ok((kind != "Dropout").then_some(Self {
            kind,
            path,
            is_pylate,
        }))
    }

    /// `name` in the module's folder.
    pub fn file(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.path)
        }
    }
}

/// `PyLate`'s module.
const PYLATE: &str = "pylate.models.Dense.Dense";

/// The modules of one route through a model.
#[derive(Clone, Debug)]
pub struct RouteEntries {
    /// The router's name for it; empty without a router.
    pub name: String,
    /// The modules, first to last.
    pub modules: Vec<ModuleEntry>,
}

/// One step after the transformer.
#[derive(Clone, Debug, PartialEq)]
pub enum Module {
    /// Token states to one vector. The results of several modes are concatenated.
    Pooling {
        /// The modes, in the order in which their results are concatenated.
        modes: Vec<Pooling>,
        /// Whether the tokens of the prompt are pooled, too.
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
        /// The activation of the result.
        activation: Activation,
    },
    /// A fully connected layer whose input is added to its output.
    Residual(Dense),
    /// A fully connected layer that gives the scores of a reranker.
    Scores(Dense),
    /// A norm (`LayerNorm`).
    LayerNorm {
        /// Folder of its weights.
        path: String,
        /// Width.
        width: usize,
    },
    /// Scaling to length 1.
    Normalize,
    /// Whole numbers from -127 to 127: `round(127 · tanh(x))`.
    Integers,
    /// A sparse autoencoder of the vector.
    Autoencoder {
        /// Folder of its weights.
        path: String,
        /// `[latents, dimensions]`
        shape: [usize; 2],
        /// How many latents are kept.
        kept: usize,
    },
    /// Token logits to weights of vocabulary entries.
    Splade(Splade),
    /// Token states to the logits of the transformer's own head for sequence classification.
    Classifier,
    /// The last token's state to the logit of a next token, less that of another one.
    Logits {
        /// The tokens; none if the files do not say which.
        tokens: Option<(u32, Option<u32>)>,
    },
}

/// A fully connected layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// Folder of its weights.
    pub path: String,
    /// `[out, in]`
    pub shape: [usize; 2],
    /// Whether it has a bias.
    pub bias: bool,
    /// The activation of the result.
    pub activation: Activation,
}

impl Module {
    /// Whether it gives the scores of a reranker.
    pub fn gives_scores(&self) -> bool {
        matches!(
            self,
            Self::Scores(_) | Self::Classifier | Self::Logits { .. }
        )
    }
}

/// The largest width of a vector.
const MOST_WIDTH: usize = 1 << 16;
/// The most modules in a list. Each route has its own copy of the modules after the router.
const MOST_MODULES: usize = 64;
/// The most routes in a router.
const MOST_ROUTES: usize = 16;

/// Parses modules.json.
pub fn entries(bytes: &[u8]) -> Result<Vec<ModuleEntry>> {
    const FILE: &str = "modules.json";
    let invalid = |reason: String| {
        let reason = format!("is not a JSON list ({reason}); download it again");
        Error::config(FILE, reason)
    };
    let list = match config::json(bytes) {
        Ok(Value::Array(list)) => list,
        Ok(_) => return Err(invalid("another value".to_owned())),
        Err(error) => return Err(invalid(error.to_string())),
    };
    if list.len() > MOST_MODULES {
        let reason = format!("lists {} modules; {MOST_MODULES} are supported", list.len());
        return Err(Error::config(FILE, reason));
    }
    let text =
        |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).map(str::to_owned);
    let mut entries = Vec::new();
    for entry in &list {
        let path = text(entry, "path").and_then(|path| normal(&path));
        let (Some(kind), Some(path)) = (text(entry, "type"), path) else {
            return Err(Error::config(
                FILE,
                format!("has an entry without a type and the path of a folder: {entry}"),
            ));
        };
        entries.extend(ModuleEntry::new(&kind, path)?);
    }
    Ok(entries)
}

/// Normalises the path of a folder: `./1_Pooling/` becomes `1_Pooling`, and `.` the model's own
/// folder. `None` for a path outside the model's folder.
fn normal(path: &str) -> Option<String> {
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    let path = (!path.starts_with('/')).then(|| parts.collect::<Vec<_>>().join("/"))?;
    is_folder(&path).then_some(path)
}

/// Name of a router's config, in the router's folder.
pub const ROUTER: &str = "router_config.json";

/// The routes of a model, and the index of the default one. `config` is the config of the router,
/// if modules.json begins with one.
pub fn routes(
    entries: &[ModuleEntry],
    config: Option<&Config>,
) -> Result<(Vec<RouteEntries>, usize)> {
    let (Some(config), Some((first, rest))) = (config, entries.split_first()) else {
        let only = RouteEntries {
            name: String::new(),
            modules: entries.to_vec(),
        };
        return Ok((vec![only], 0));
    };
    let wrong = |field: &str| {
        config.wrong(
            field,
            "as sentence-transformers writes it: types of modules by folder, and lists of folders by route",
        )
    };
    let structure = config.get("structure").and_then(Value::as_object);
    let structure = structure.filter(|routes| (1..=MOST_ROUTES).contains(&routes.len()));
    let structure = structure.ok_or_else(|| wrong("structure"))?;
    let entry = |id: &Value| -> Result<Option<ModuleEntry>> {
        let id = id.as_str().ok_or_else(|| wrong("structure"))?;
        let kind = config.get("types").and_then(|types| types.get(id));
        let kind = kind.and_then(Value::as_str).ok_or_else(|| wrong("types"))?;
        let path = normal(id).ok_or_else(|| wrong("structure"))?;
        let path = if path.is_empty() {
            first.path.clone()
        } else {
            first.file(&path)
        };
        ModuleEntry::new(kind, path)
    };
    let mut all = Vec::new();
    for (name, ids) in structure {
        let ids = ids.as_array();
        let ids = ids.filter(|ids| (1..=MOST_MODULES).contains(&ids.len()));
        let ids = ids.ok_or_else(|| wrong("structure"))?;
        let mut modules = Vec::new();
        for id in ids {
            modules.extend(entry(id)?);
        }
        modules.extend_from_slice(rest);
        all.push(RouteEntries {
            name: name.clone(),
            modules,
        });
    }
    let parameter = |name: &str| {
        config
            .get("parameters")?
            .get(name)
            .filter(|value| !value.is_null())
    };
    if parameter("route_mappings").is_some_and(|map| *map != Value::Object(Map::new())) {
        return Err(config.wrong("parameters", "without route_mappings"));
    }
    let default = match parameter("default_route") {
        // sentence-transformers takes the first of several in the order of the file, which is lost
        // here.
        None if all.len() == 1 => Some(0),
        None => None,
        Some(name) => all.iter().position(|route| *name == route.name.as_str()),
    };
    let default = default.ok_or_else(|| {
        config.wrong(
            "parameters",
            "an object whose default_route is one of the routes",
        )
    })?;
    Ok((all, default))
}

/// Whether a path stays inside the model's folder. Callers resolve it against an address, from
/// which `../x`, `/x` or `https://x` would lead elsewhere.
pub fn is_folder(path: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.contains(|c: char| c.is_control() || "\\:?#%".contains(c))
    };
    path.is_empty() || path.split('/').all(plain)
}

/// Whether a name is a plain file name, without a folder.
pub fn is_file(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && is_folder(name)
}

/// Reads one module after the transformer. `config` is its config.json, if it has one.
pub fn module(entry: &ModuleEntry, config: Option<&Config>) -> Result<Module> {
    let need = || config.ok_or_else(|| Error::MissingFile(entry.file("config.json")));
    match entry.kind.as_str() {
        "Pooling" => pooling(need()?),
        "Dense" => {
            let config = need()?;
            if config.text("module_output_name")? != Some("scores") {
                reads(config, "sentence_embedding")?;
                return dense(&entry.path, config);
            }
            config.only("module_input_name", &["sentence_embedding".into()])?;
            match dense(&entry.path, config)? {
                Module::Dense {
                    path,
                    shape,
                    bias,
                    activation,
                } => Ok(Module::Scores(Dense {
                    path,
                    shape,
                    bias,
                    activation,
                })),
                _ => Err(config.wrong("use_residual", "false")),
            }
        }
        "Normalize" => config
            .map_or(Ok(()), |config| reads(config, "sentence_embedding"))
            .map(|()| Module::Normalize),
        QUANTIZER => Ok(Module::Integers),
        "SpladePooling" => splade(need()?),
        "LayerNorm" => Ok(Module::LayerNorm {
            path: entry.path.clone(),
            width: need()?.size("dimension", MOST_WIDTH)?,
        }),
        "LogitScore" => logit_score(need()?),
        "SparseAutoEncoder" => autoencoder(&entry.path, need()?),
        other => Err(unsupported(other)),
    }
}

/// The error about a module that is not implemented.
pub fn unsupported(kind: &str) -> Error {
    Error::UnsupportedModel(format!(
        "modules.json names a module of type {kind}, which is not supported; supported are sentence-transformers' Transformer, MLMTransformer, StaticEmbedding and SparseStaticEmbedding at the beginning, Router, Pooling, Dense, LayerNorm, Normalize, Dropout, SpladePooling, SparseAutoEncoder and LogitScore, PyLate's Dense and MultiVectorMask in late-interaction models, and pplx-embed's FlexibleQuantizer at the end"
    ))
}

/// As [`module`], for a Dense or Normalize that takes the states of tokens.
pub fn token_module(entry: &ModuleEntry, config: Option<&Config>) -> Result<Module> {
    if let Some(config) = config {
        reads(config, "token_embeddings")?;
    }
    match (entry.kind.as_str(), config) {
        ("Dense", Some(config)) => dense(&entry.path, config),
        ("Normalize", Some(_)) => Ok(Module::Normalize),
        _ => Err(Error::MissingFile(entry.file("config.json"))),
    }
}

/// Refuses modules whose input or output is another one.
fn reads(config: &Config, what: &str) -> Result<()> {
    let only = [Value::from(what)];
    config.only("module_input_name", &only)?;
    config.only("module_output_name", &only)
}

fn pooling(config: &Config) -> Result<Module> {
    let include_prompt = config.flag("include_prompt", true)?;
    let by_name = |name: &Value| {
        let mode = Pooling::MODES
            .iter()
            .find(|mode| name.as_str() == Some(mode.name));
        mode.map(|mode| mode.pooling).ok_or_else(|| {
            let names: Vec<_> = Pooling::MODES.iter().map(|mode| mode.name).collect();
            config.wrong("pooling_mode", &format!("one of {}", names.join(", ")))
        })
    };
    let mut modes: Vec<Pooling> = match config.get("pooling_mode") {
        Some(Value::Array(names)) => names.iter().map(by_name).collect::<Result<_>>()?,
        Some(name) => vec![by_name(name)?],
        None => {
            let mut modes = Vec::new();
            for mode in Pooling::MODES {
                if config.flag(mode.flag, false)? {
                    modes.push(mode.pooling);
                }
            }
            modes
        }
    };
    if (1..modes.len()).any(|at| modes[..at].contains(&modes[at])) {
        return Err(config.wrong("pooling_mode", "modes that differ"));
    }
    if modes.is_empty() {
        // The default of sentence-transformers if no flag is set.
        modes.push(Pooling::Mean);
    }
    Ok(Module::Pooling {
        modes,
        include_prompt,
    })
}

fn dense(path: &str, config: &Config) -> Result<Module> {
    let spelled = config
        .text("activation_function")?
        .unwrap_or("torch.nn.modules.activation.Tanh");
    let name = spelled.strip_prefix("torch.").unwrap_or_default();
    let activation = match name.rsplit('.').next().unwrap_or_default() {
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
    let shape = [
        config.size("out_features", MOST_WIDTH)?,
        config.size("in_features", MOST_WIDTH)?,
    ];
    let dense = Dense {
        path: path.to_owned(),
        shape,
        bias: config.flag("bias", true)?,
        activation,
    };
    if config.flag("use_residual", false)? {
        return Ok(Module::Residual(dense));
    }
    let Dense { path, bias, .. } = dense;
    Ok(Module::Dense {
        path,
        shape,
        bias,
        activation,
    })
}

fn logit_score(config: &Config) -> Result<Module> {
    config.only("module_input_name", &["causal_logits".into()])?;
    let token = |field: &str| {
        let token = config.get(field).and_then(Value::as_u64);
        let token = token.and_then(|token| u32::try_from(token).ok());
        token.ok_or_else(|| config.wrong(field, "a token id"))
    };
    let yes = token("true_token_id")?;
    let no = config
        .get("false_token_id")
        .map(|_| token("false_token_id"));
    let no = no.transpose()?;
    if no == Some(yes) {
        return Err(config.wrong("false_token_id", "another token than true_token_id"));
    }
    Ok(Module::Logits {
        tokens: Some((yes, no)),
    })
}

fn autoencoder(path: &str, config: &Config) -> Result<Module> {
    config.only("normalize", &[false.into()])?;
    let latents = config.size_or("hidden_dim", 512, 1 << 24)?;
    let kept = config.size_or("k", 8, 1 << 24)?;
    if kept > latents {
        return Err(config.wrong("k", &format!("at most hidden_dim ({latents})")));
    }
    Ok(Module::Autoencoder {
        path: path.to_owned(),
        shape: [latents, config.size("input_dim", MOST_WIDTH)?],
        kept,
    })
}

fn splade(config: &Config) -> Result<Module> {
    let strategy = match config.text("pooling_strategy")?.unwrap_or("max") {
        "max" => SpladeStrategy::Max,
        "sum" => SpladeStrategy::Sum,
        _ => return Err(config.wrong("pooling_strategy", "max or sum")),
    };
    let activation = match config.text("activation_function")?.unwrap_or("relu") {
        "relu" => SpladeActivation::Log1pRelu,
        "log1p_relu" => SpladeActivation::Log1pLog1pRelu,
        _ => return Err(config.wrong("activation_function", "relu or log1p_relu")),
    };
    Ok(Module::Splade(Splade {
        strategy,
        activation,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, json: &str) -> Result<Module> {
        let entry = ModuleEntry {
            kind: kind.to_owned(),
            path: "1_X".to_owned(),
            is_pylate: false,
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
        assert!(message("SpladePooling", r#"{"pooling_strategy":"mean"}"#).contains("max or sum"));
        assert!(message("CNN", "{}").contains("type CNN"));
    }

    #[test]
    fn module_types_are_told_by_their_last_component() {
        let list = br#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.base.modules.transformer.Transformer"}]"#;
        assert_eq!(entries(list).unwrap()[0].kind, "Transformer");
        for (path, folder) in [
            ("", ""),
            (".", ""),
            ("./", ""),
            ("1_Pooling/", "1_Pooling"),
            ("./1_Pooling", "1_Pooling"),
            ("a//b/./c", "a/b/c"),
        ] {
            let list =
                format!(r#"[{{"path":"{path}","type":"sentence_transformers.models.Pooling"}}]"#);
            assert_eq!(entries(list.as_bytes()).unwrap()[0].path, folder, "{path}");
        }
        let dropout = br#"[{"path":"2_Dropout","type":"sentence_transformers.models.Dropout"}]"#;
        assert!(entries(dropout).unwrap().is_empty());
        for kind in ["custom.Transformer", "pylate.models.Other", "Pooling"] {
            let list = format!(r#"[{{"path":"","type":"{kind}"}}]"#);
            let message = entries(list.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(kind), "{message}");
        }
        for path in ["../x", "/x", "https://x", "a\\\\b", "%2e%2e", "a?b"] {
            let list =
                format!(r#"[{{"path":"{path}","type":"sentence_transformers.models.Pooling"}}]"#);
            let message = entries(list.as_bytes()).unwrap_err().to_string();
            assert!(message.contains("path of a folder"), "{path}: {message}");
        }
        assert!(entries(b"{}").is_err());
    }
}
