//! What the caller states about a model: pooling, normalisation, prompts and the maximum number of
//! tokens.
//!
//! The options are written into the small files as sentence-transformers writes them, before these
//! are planned. So the model, its `space_id` and its saved files are those of a repository that
//! states the same.

use serde_json::{Map, Value, json};

use crate::backend::Pooling;
use crate::error::{Error, Result};
use crate::model::families;
use crate::model::families::config::Config;
use crate::model::kind::Kind;
use crate::model::load::discovery;
use crate::model::load::files::{
    CONFIG, Files, METADATA, MODEL_SETTINGS, MODULES, TOKENIZER_CONFIG,
};
use crate::model::load::heads;
use crate::model::load::late_layout::LateLayout;
use crate::model::load::options::LoadOptions;
use crate::model::load::pipeline::{self, Module, ModuleEntry};
use crate::model::load::scoring;
use crate::model::load::sentence::{self, Sentence};

/// What the options replace, and what is assumed for lack of them.
#[derive(Default)]
pub struct Stated {
    /// The head that is assumed because there is no modules.json: a pooling mode, or `splade`.
    pub assumed: Option<&'static str>,
    /// What the model's files state otherwise, by the name of the option.
    pub overridden: Vec<(&'static str, Value)>,
    /// Whether the caller stated the maximum number of tokens.
    pub has_max_tokens: bool,
    /// Whether the kind that the caller asked for changes the assumed head.
    pub insists: bool,
}

/// The fields of a JSON object.
type Fields = Map<String, Value>;

/// Writes the options into the files.
pub fn apply(files: &mut Files, options: &LoadOptions) -> Result<Stated> {
    let mut stated = Stated::default();
    let has_options = options.pooling.is_some()
        || options.normalize.is_some()
        || options.prompts.is_some()
        || options.max_tokens.is_some();
    if !has_options {
        return Ok(stated);
    }
    let modules = discovery::modules(files)?;
    let root = vec![discovery::root()];
    if let Some((first, rest)) = modules.as_ref().unwrap_or(&root).split_first() {
        let rest = modules.as_ref().map(|_| rest);
        if state_late(files, first, rest, options, &mut stated)? {
            if let Some(prompts) = &options.prompts {
                set_prompts(files, json!(prompts), &mut stated)?;
            }
            return Ok(stated);
        }
    }
    if files.bytes(MODULES).is_none() {
        if scores(files, options)? {
            return set_scores(files, options, stated);
        }
        assume(files, options, &mut stated)?;
    }
    let modules = discovery::modules(files)?.unwrap_or_default();
    let (routes, _) = discovery::routes(files, &modules)?;
    if let Some(modes) = &options.pooling {
        for route in &routes {
            set_pooling(files, &route.modules, modes, &mut stated)?;
        }
    }
    if let Some(normalize) = options.normalize {
        set_normalize(files, &modules, &routes, normalize, &mut stated)?;
    }
    if let Some(most) = options.max_tokens {
        stated.has_max_tokens = true;
        for route in &routes {
            if let Some(first) = route.modules.first() {
                set_max_tokens(files, first, most, &mut stated)?;
            }
        }
    }
    if let Some(prompts) = &options.prompts {
        set_prompts(files, json!(prompts), &mut stated)?;
    }
    Ok(stated)
}

impl Stated {
    /// Records what the files state, unless it is what the option says.
    fn replace(&mut self, option: &'static str, old: Value, new: &Value) {
        let is_known = self.overridden.iter().any(|(known, _)| *known == option);
        if old != *new && !is_known {
            self.overridden.push((option, old));
        }
    }
}

/// The head that is assumed, for [`Stated::assumed`]. `None` if the caller asked for the kind of
/// it, and for rerankers, which their class says that they are.
pub fn assumed(head: &Module, kind: Option<Kind>) -> Option<&'static str> {
    match head {
        Module::Pooling { modes, .. } => modes.first().map(|mode| mode.mode().name),
        Module::Splade(_) => Some("splade").filter(|_| kind.is_none()),
        _ => None,
    }
}

/// Whether a model without modules.json is a reranker.
fn scores(files: &Files, options: &LoadOptions) -> Result<bool> {
    let config = Config::parse(CONFIG, files.required(CONFIG)?)?;
    let asks = heads::may_ask(&config) && scoring::asks(files, &discovery::root())?;
    Ok(heads::assumed(&config, options.kind, asks)?.gives_scores())
}

/// Writes the options for a reranker without modules.json.
fn set_scores(files: &mut Files, options: &LoadOptions, mut stated: Stated) -> Result<Stated> {
    for (name, is_given) in [
        ("pooling", options.pooling.is_some()),
        ("normalize", options.normalize.is_some()),
    ] {
        if is_given {
            let reason =
                format!("{name} is for models that give dense vectors, and this one is a reranker");
            return Err(Error::input(name, reason));
        }
    }
    if let Some(most) = options.max_tokens {
        stated.has_max_tokens = true;
        let root = discovery::root();
        let path = root.file(TOKENIZER_CONFIG);
        if let Some(config) = files.config(&path)?
            && let Some(old) = sentence::limit(&config, "model_max_length")?
        {
            stated.replace("maxTokens", json!(old), &json!(most));
        }
        set_tokenizer_limit(files, &root, most)?;
    }
    if let Some(prompts) = &options.prompts {
        // sentence-transformers reads none of this file without modules.json.
        files.replace(MODEL_SETTINGS, None);
        set_prompts(files, json!(prompts), &mut stated)?;
    }
    Ok(stated)
}

/// Writes the most tokens of a document into the files of a late-interaction model, and returns
/// true; false for other models. `first` is its transformer, `rest` what modules.json lists after
/// it.
fn state_late(
    files: &mut Files,
    first: &ModuleEntry,
    rest: Option<&[ModuleEntry]>,
    options: &LoadOptions,
    stated: &mut Stated,
) -> Result<bool> {
    if matches!(options.kind, Some(Kind::Dense | Kind::Sparse)) {
        return Ok(false);
    }
    let Some(config) = files.config(&first.file(CONFIG))? else {
        return Ok(false);
    };
    let settings = files.config(MODEL_SETTINGS)?.filter(|_| rest.is_some());
    let Some(layout) = LateLayout::find(&config, settings.as_ref(), rest)? else {
        return Ok(false);
    };
    for (name, is_stated) in [
        ("pooling", options.pooling.is_some()),
        ("normalize", options.normalize.is_some()),
        (
            "prompts",
            options.prompts.is_some() && layout == LateLayout::Stanford,
        ),
    ] {
        if is_stated {
            let reason = format!(
                "{name} is stated, and the model is made for late interaction: its files say how its vectors are made; leave it out"
            );
            return Err(Error::input(name, reason));
        }
    }
    let Some(most) = options.max_tokens else {
        return Ok(true);
    };
    stated.has_max_tokens = true;
    let (path, field) = match layout {
        LateLayout::Stanford => (first.file(METADATA), "doc_maxlen"),
        LateLayout::PyLate => (MODEL_SETTINGS.to_owned(), "document_length"),
        LateLayout::MultiVector => (first.file(sentence::NAMES[0]), "document_length"),
    };
    let fields = files.config(&path)?.map(Config::into_fields);
    let mut fields = fields.unwrap_or_default();
    if let Some(old) = fields.insert(field.to_owned(), most.into()) {
        stated.replace("maxTokens", old, &most.into());
    }
    files.replace(&path, Some(Value::Object(fields).to_string().into_bytes()));
    Ok(true)
}

/// For a model without modules.json: writes the files that state what is assumed.
fn assume(files: &mut Files, options: &LoadOptions, stated: &mut Stated) -> Result<()> {
    let config = Config::parse(CONFIG, files.required(CONFIG)?)?;
    let usual = heads::assumed(&config, None, false)?;
    let mut head = heads::assumed(&config, options.kind, false)?;
    stated.insists = head != usual;
    if let Some(modes) = &options.pooling {
        if options.kind == Some(Kind::Sparse) {
            let reason =
                "pooling is for dense models, and kind is \"sparse\"; leave one of them out";
            return Err(Error::input("pooling", reason));
        }
        if matches!(head, Module::Splade(_)) {
            stated.overridden.push(("kind", "sparse".into()));
        }
        head = Module::Pooling {
            modes: modes.clone(),
            include_prompt: true,
        };
    } else {
        stated.assumed = assumed(&head, options.kind);
    }
    let module = |path: &str, kind: &str| json!({ "path": path, "type": format!("sentence_transformers.models.{kind}") });
    let (encoder, path, kind, settings) = if let Module::Pooling { modes, .. } = &head {
        let settings = json!({
            "embedding_dimension": hidden_size(&config)?,
            "pooling_mode": names(modes),
            "include_prompt": true,
        });
        ("Transformer", "1_Pooling", "Pooling", settings)
    } else {
        let settings = json!({ "pooling_strategy": "max", "activation_function": "relu" });
        let name = "SpladePooling";
        ("MLMTransformer", "1_SpladePooling", name, settings)
    };
    let modules = json!([module("", encoder), module(path, kind)]);
    set(files, MODULES, &modules);
    set(files, &format!("{path}/{CONFIG}"), &settings);
    // sentence-transformers reads these only for models with modules.json.
    for name in [MODEL_SETTINGS].iter().chain(&sentence::NAMES) {
        files.replace(name, None);
    }
    Ok(())
}

/// Width of token states.
fn hidden_size(config: &Config) -> Result<usize> {
    Ok((families::find(config)?.spec)(config)?.output_size())
}

/// Names of pooling modes as sentence-transformers writes them: one, or a list of several.
fn names(modes: &[Pooling]) -> Value {
    match modes {
        [one] => one.mode().name.into(),
        several => several.iter().map(|mode| mode.mode().name).collect(),
    }
}

fn set_pooling(
    files: &mut Files,
    modules: &[ModuleEntry],
    modes: &[Pooling],
    stated: &mut Stated,
) -> Result<()> {
    let Some(entry) = modules.iter().find(|entry| entry.kind == "Pooling") else {
        let reason = "pooling is stated, and the model's modules have no pooling of token states: it gives sparse vectors";
        return Err(Error::input("pooling", reason));
    };
    let path = entry.file(CONFIG);
    let config = Config::parse(&path, files.required(&path)?)?;
    if files.is_original(MODULES)
        && let Module::Pooling { modes: old, .. } = pipeline::module(entry, Some(&config))?
    {
        stated.replace("pooling", names(&old), &names(modes));
    }
    let mut fields = config.into_fields();
    fields.retain(|field, _| !field.starts_with("pooling_mode"));
    fields.insert("pooling_mode".to_owned(), names(modes));
    set(files, &path, &fields.into());
    Ok(())
}

fn set_normalize(
    files: &mut Files,
    modules: &[ModuleEntry],
    routes: &[pipeline::RouteEntries],
    normalize: bool,
    stated: &mut Stated,
) -> Result<()> {
    let is_last = |entries: &[ModuleEntry]| {
        entries
            .last()
            .is_some_and(|entry| entry.kind == "Normalize")
    };
    for route in routes {
        if !route.modules.iter().any(|entry| entry.kind == "Pooling") {
            let reason =
                "normalize is stated, and the model gives sparse vectors, which are not normalised";
            return Err(Error::input("normalize", reason));
        }
    }
    if routes
        .iter()
        .all(|route| is_last(&route.modules) == normalize)
    {
        return Ok(());
    }
    let mut list = match serde_json::from_slice(files.required(MODULES)?) {
        Ok(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    if normalize && !routes.iter().any(|route| is_last(&route.modules)) {
        let path = format!("{}_Normalize", list.len());
        list.push(json!({ "path": path, "type": "sentence_transformers.models.Normalize" }));
    } else if !normalize && is_last(modules) {
        list.truncate(list.len().saturating_sub(1));
    } else {
        let reason = "the routes of the model's router normalise in ways of their own, which cannot be overridden; state normalize in each call instead";
        return Err(Error::input("normalize", reason));
    }
    if files.is_original(MODULES) {
        stated.replace("normalize", (!normalize).into(), &normalize.into());
    }
    set(files, MODULES, &list.into());
    Ok(())
}

fn set_max_tokens(
    files: &mut Files,
    entry: &ModuleEntry,
    most: usize,
    stated: &mut Stated,
) -> Result<()> {
    let limit = json!(most);
    if most == 0
        || !matches!(
            entry.kind.as_str(),
            "Transformer" | "MLMTransformer" | pipeline::TASKS
        )
    {
        return set_tokenizer_limit(files, entry, most);
    }
    let mut paths = sentence::NAMES.iter().map(|name| entry.file(name));
    let path = paths.find(|path| files.bytes(path).is_some());
    let path = path.unwrap_or_else(|| entry.file(sentence::NAMES[0]));
    if let Some(config) = files.config(&path)?
        && let Some(old) = Sentence::read(&config, false)?.max_tokens
    {
        stated.replace("maxTokens", json!(old), &limit);
    }
    let mut fields = fields(files, &path)?;
    // These go before `max_seq_length`.
    for object in [
        "model_args",
        "model_kwargs",
        "tokenizer_args",
        "processor_kwargs",
    ] {
        if let Some(Value::Object(arguments)) = fields.get_mut(object) {
            arguments.remove("model_max_length");
        }
    }
    if let Some(Value::Object(processing)) = fields.get_mut("processing_kwargs") {
        for kind in ["text", "common"] {
            if let Some(Value::Object(arguments)) = processing.get_mut(kind) {
                arguments.remove("max_length");
            }
        }
    }
    fields.insert("max_seq_length".to_owned(), limit);
    set(files, &path, &fields.into());
    Ok(())
}

/// States a maximum number of tokens in the tokenizer's settings.
fn set_tokenizer_limit(files: &mut Files, entry: &ModuleEntry, most: usize) -> Result<()> {
    if most == 0 {
        return Err(Error::input(
            "maxTokens",
            "maxTokens is 0; it must be 1 or more",
        ));
    }
    let path = entry.file(TOKENIZER_CONFIG);
    let mut fields = fields(files, &path)?;
    fields.insert("model_max_length".to_owned(), json!(most));
    set(files, &path, &fields.into());
    Ok(())
}

fn set_prompts(files: &mut Files, prompts: Value, stated: &mut Stated) -> Result<()> {
    let mut fields = fields(files, MODEL_SETTINGS)?;
    if let Some(old) = fields.get("prompts")
        && old.as_object().is_some_and(|old| !old.is_empty())
    {
        stated.replace("prompts", old.clone(), &prompts);
    }
    let default = fields.get("default_prompt_name").and_then(Value::as_str);
    if let Some(name) = default.filter(|name| prompts.get(name).is_none()) {
        let reason =
            format!("prompts has no {name:?}, which is the model's default prompt; add it");
        return Err(Error::input("prompts", reason));
    }
    fields.insert("prompts".to_owned(), prompts);
    set(files, MODEL_SETTINGS, &fields.into());
    Ok(())
}

/// The fields of a file; none if the source does not have it.
fn fields(files: &Files, path: &str) -> Result<Fields> {
    let config = files.config(path)?;
    Ok(config.map(Config::into_fields).unwrap_or_default())
}

fn set(files: &mut Files, path: &str, value: &Value) {
    files.replace(path, Some(value.to_string().into_bytes()));
}
