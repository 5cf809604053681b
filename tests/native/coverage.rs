//! The models that people use most, as their published files describe them: each loads with random
//! weights, or is refused. `tests/fixtures/coverage_models.py` has the list, docs/coverage.md the
//! outcome.

use std::collections::BTreeMap;
use std::fmt::Write;

use gossamer::{
    Cpu, Embedder, EncodeOptions, Input, Kind, LoadOptions, Loader, ScoreOptions, SparseOptions,
    TokenOptions, WeightDtype,
};
use serde_json::{Map, Value, json};

use crate::common::synthetic::{self, Row};
use crate::common::{fixture, next_weights, root};

/// Small files by path.
type Files = BTreeMap<String, Vec<u8>>;

fn list() -> (Value, Vec<Value>) {
    let json = std::fs::read(fixture("coverage/models.json")).unwrap();
    let mut lines: Vec<Value> = serde_json::from_slice(&json).unwrap();
    let mut first = lines.remove(0);
    (first["tensors"].take(), lines)
}

fn put(files: &mut Files, path: &str, value: &Value) {
    files.insert(path.to_owned(), value.to_string().into_bytes());
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn size(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("a size")).unwrap()
}

/// The tokenizer of a fixture of the same kind.
fn tokenizer(model: &Value, kind: &str) -> (Vec<u8>, Value) {
    let read = |path: &str| std::fs::read(fixture(path)).unwrap();
    let own = text(model, "tokenizer");
    // These have templates of pairs.
    let pairs = match own {
        "wordpiece" => "rerankers/bert",
        "unigram" => "rerankers/xlm-roberta",
        "roberta" => "rerankers/roberta",
        "modernbert" => "rerankers/modernbert",
        // These have the tokens that are asked for.
        "qwen" if model["config"]["model_type"] == "qwen2" => "rerankers/qwen2-bare",
        "qwen" => "rerankers/qwen3-bare",
        _ => "",
    };
    // These have markers of queries and documents.
    let late = match own {
        "wordpiece" => "colbert/stanford",
        "unigram" => "colbert/stanford-flash",
        "modernbert" => "colbert/pylate",
        _ => "",
    };
    let folder = match own {
        _ if kind == "late" && !late.is_empty() => late,
        _ if kind == "rerank" && !pairs.is_empty() => pairs,
        "wordpiece" => "tiny-bert",
        "unigram" => "tiny-m3",
        "mpnet" => "tiny-mpnet",
        "roberta" => "tiny-roberta-splade",
        "modernbert" => "tiny-modernbert",
        "qwen" => "tiny-qwen3",
        "t5" => "tiny-t5",
        "llama3" => "tiny-llama",
        "llama" => {
            let config = json!({
                "tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                "pad_token": "</s>", "add_eos_token": true,
            });
            return (read("coverage/llama.json"), config);
        }
        "gemma" => {
            let config = json!({
                "tokenizer_class": "GemmaTokenizer", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>",
                "pad_token": "<pad>",
            });
            return (read("coverage/gemma.json"), config);
        }
        other => panic!("no tokenizer of the kind {other}"),
    };
    let config = read(&format!("{folder}/tokenizer_config.json"));
    let config = serde_json::from_slice(&config).unwrap();
    (read(&format!("{folder}/tokenizer.json")), config)
}

const ST: &str = "sentence_transformers.models";
const SPARSE: &str = "sentence_transformers.sparse_encoder.models";

fn modules(files: &mut Files, list: &[(String, String)]) {
    let entry = |(idx, (path, kind)): (usize, &(String, String))| json!({ "idx": idx, "name": idx.to_string(), "path": path, "type": kind });
    let list: Vec<Value> = list.iter().enumerate().map(entry).collect();
    put(files, "modules.json", &Value::Array(list));
}

/// The files of `PyLate`: a Dense module, and how queries and documents are read.
fn pylate(files: &mut Files, settings: &Value, config: &Value) {
    let config = json!({
        "in_features": hidden(config), "out_features": settings["dim"], "bias": false,
        "activation_function": "torch.nn.modules.linear.Identity",
    });
    put(files, "1_Dense/config.json", &config);
    let own = json!({
        "model_type": "ColBERT", "prompts": { "query": "", "document": "" }, "default_prompt_name": null,
        "similarity_fn_name": "MaxSim", "query_prefix": "[Q] ", "document_prefix": "[D] ",
        "query_length": settings["query_length"], "document_length": 300, "attend_to_expansion_tokens": false,
        "skiplist_words": ["!", ",", "."],
    });
    put(files, "config_sentence_transformers.json", &own);
    let sentence = json!({ "max_seq_length": 299, "do_lower_case": false });
    put(files, "sentence_bert_config.json", &sentence);
    let list = [
        (String::new(), format!("{ST}.Transformer")),
        ("1_Dense".to_owned(), "pylate.models.Dense.Dense".to_owned()),
    ];
    modules(files, &list);
}

/// The files of a router: queries by a table of weights, documents by SPLADE.
fn router(files: &mut Files, splade: &Value, tokenizer: Vec<u8>, settings: &Value) {
    let (query, document) = ("query_0_SparseStaticEmbedding", "document_1_SpladePooling");
    let config = json!({
        "types": {
            "": format!("{SPARSE}.MLMTransformer"), document: format!("{SPARSE}.SpladePooling"),
            query: format!("{SPARSE}.SparseStaticEmbedding"),
        },
        "structure": { "query": [query], "document": ["", document] },
        "parameters": { "default_route": "document", "allow_empty_key": true },
    });
    put(files, "router_config.json", &config);
    put(files, &format!("{document}/config.json"), splade);
    put(
        files,
        &format!("{query}/config.json"),
        &json!({ "frozen": true }),
    );
    files.insert(format!("{query}/tokenizer.json"), tokenizer);
    put(files, &format!("{query}/tokenizer_config.json"), settings);
    modules(files, &[(String::new(), format!("{ST}.Router"))]);
}

/// The small files of a model's folder with this config.json.
fn folder(model: &Value, kind: &str, config: &Value) -> Files {
    let mut files = Files::new();
    let (json, mut settings) = tokenizer(model, kind);
    settings["model_max_length"] = model["limit"].clone();
    files.insert("tokenizer.json".to_owned(), json.clone());
    put(&mut files, "tokenizer_config.json", &settings);
    if text(model, "static") == "StaticEmbedding" {
        modules(
            &mut files,
            &[(String::new(), format!("{ST}.StaticEmbedding"))],
        );
        return files;
    }
    put(&mut files, "config.json", config);
    if let Some(prompts) = model.get("prompts") {
        let value = json!({ "prompts": prompts, "default_prompt_name": null, "similarity_fn_name": "cosine" });
        put(&mut files, "config_sentence_transformers.json", &value);
    }
    if let Some(metadata) = model.get("colbert") {
        put(&mut files, "artifact.metadata", metadata);
    }
    if let Some(splade) = model.get("splade") {
        let value =
            json!({ "model_type": "SparseEncoder", "prompts": {}, "similarity_fn_name": "dot" });
        put(&mut files, "config_sentence_transformers.json", &value);
        if model.get("queries").is_none() {
            put(&mut files, "1_SpladePooling/config.json", splade);
            let list = [
                (String::new(), format!("{SPARSE}.MLMTransformer")),
                (
                    "1_SpladePooling".to_owned(),
                    format!("{SPARSE}.SpladePooling"),
                ),
            ];
            modules(&mut files, &list);
            return files;
        }
        router(&mut files, splade, json, &settings);
        return files;
    }
    if let Some(settings) = model.get("pylate") {
        pylate(&mut files, settings, config);
        return files;
    }
    let first = model["first"].as_str().map(str::to_owned);
    if let Some(adapter) = model.get("adapter") {
        put(
            &mut files,
            &adapter_file("adapter_config.json"),
            &adapter["config"],
        );
        modules(&mut files, &[(String::new(), first.unwrap())]);
        return files;
    }
    let Some(pooling) = model["pooling"].as_str() else {
        return files;
    };
    let mut list = vec![
        (
            String::new(),
            first.unwrap_or_else(|| format!("{ST}.Transformer")),
        ),
        ("1_Pooling".to_owned(), format!("{ST}.Pooling")),
    ];
    let flag = match pooling {
        "mean" => "pooling_mode_mean_tokens",
        "cls" => "pooling_mode_cls_token",
        _ => "pooling_mode_lasttoken",
    };
    let width = json!({ "word_embedding_dimension": hidden(config), flag: true });
    put(&mut files, "1_Pooling/config.json", &width);
    for (number, dense) in (2..).zip(denses(model, config)) {
        let path = format!("{number}_Dense");
        put(&mut files, &format!("{path}/config.json"), &dense);
        list.push((path, format!("{ST}.Dense")));
    }
    for kind in model["after"].as_array().into_iter().flatten() {
        let kind = kind.as_str().unwrap();
        let path = match kind.rsplit('.').next() {
            // It has no folder.
            Some("FlexibleQuantizer") => String::new(),
            Some("SparseAutoEncoder") => AUTOENCODER.to_owned(),
            _ => format!("{}_After", list.len()),
        };
        if path == AUTOENCODER {
            let mut own = model["autoencoder"].clone();
            own["input_dim"] = hidden(config);
            put(&mut files, &format!("{AUTOENCODER}/config.json"), &own);
        }
        list.push((path, kind.to_owned()));
    }
    if model["normalize"] == true {
        list.push((
            format!("{}_Normalize", list.len()),
            format!("{ST}.Normalize"),
        ));
    }
    modules(&mut files, &list);
    let sentence = json!({ "max_seq_length": model["limit"], "do_lower_case": false });
    put(&mut files, "sentence_bert_config.json", &sentence);
    files
}

/// A file of the adapter that is merged, of a model that has one for each task.
fn adapter_file(name: &str) -> String {
    format!("adapters/{ADAPTER}/{name}")
}

const ADAPTER: &str = "retrieval";

/// The matrices of an adapter: two for each module that it is for.
fn adapter(rows: &[Row], config: &Value) -> Vec<Row> {
    let rank = size(&config["r"]);
    let targets: Vec<&str> = config["target_modules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let pairs = rows.iter().filter_map(|(name, shape, ..)| {
        let module = name.strip_suffix(".weight")?;
        let last = module.rsplit('.').next()?;
        let [out, into] = shape[..] else { return None };
        let of = |part: &str, shape: Vec<usize>| {
            (
                format!("base_model.model.{module}.lora_{part}.weight"),
                shape,
                0.0,
                0.1,
            )
        };
        targets
            .contains(&last)
            .then(|| [of("A", vec![rank, into]), of("B", vec![out, rank])])
    });
    pairs.flatten().collect()
}

/// The folder of a sparse autoencoder.
const AUTOENCODER: &str = "2_SparseAutoEncoder";

fn hidden(config: &Value) -> Value {
    let fields = ["hidden_size", "dim", "n_embd", "d_model"].iter();
    let mut found = fields.filter_map(|field| config.get(*field));
    found.next().cloned().unwrap_or(Value::Null)
}

/// The configs of a model's Dense modules.
fn denses(model: &Value, config: &Value) -> Vec<Value> {
    let all = model["dense"].as_array().into_iter().flatten();
    let all = all.map(|dense| {
        let width = |value: &Value| {
            if value.is_u64() {
                value.clone()
            } else {
                hidden(config)
            }
        };
        json!({
            "in_features": width(&dense["in"]), "out_features": width(&dense["out"]), "bias": dense["bias"],
            "activation_function": dense["activation_function"],
        })
    });
    all.collect()
}

/// The rows of a synthetic file: names and shapes of a model's tensors, for this config.json.
fn tensors(all: &Value, model: &Value, config: &Value) -> Vec<Row> {
    let field = |names: &[&str]| names.iter().find_map(|name| config.get(*name).map(size));
    let heads = field(&["num_attention_heads", "n_heads", "n_head"]);
    let head =
        heads.map(|heads| field(&["head_dim"]).unwrap_or_else(|| size(&hidden(config)) / heads));
    let number = |part: &str| -> usize {
        match part {
            "head" => head.expect("a model with heads"),
            _ => part.parse().unwrap_or_else(|_| {
                size(
                    config
                        .get(part)
                        .unwrap_or_else(|| panic!("{config} has no {part}")),
                )
            }),
        }
    };
    let layers = field(&["num_hidden_layers", "n_layers", "n_layer", "num_layers"]).unwrap_or(0);
    let mut rows = Vec::new();
    for (at, list) in model["tensors"].as_array().unwrap().iter().enumerate() {
        let list = list.as_str().unwrap();
        // The body has the prefix, and so has BERT's pooler in a model with a head.
        let prefix = if at == 0 || list == "pooler-in" {
            text(model, "prefix")
        } else {
            ""
        };
        for row in all[list].as_array().unwrap() {
            let row = row.as_array().unwrap();
            let template = row[0].as_str().unwrap();
            let shape = row[1..].iter().map(|dimension| match dimension.as_str() {
                Some(product) => product.split('*').map(number).product(),
                None => size(dimension),
            });
            let shape: Vec<usize> = shape.collect();
            let (mean, spread) = match shape.as_slice() {
                [_] if template.ends_with("weight") => (1.0, 0.1),
                _ => (0.0, 0.05),
            };
            let mut add =
                |name: String| rows.push((format!("{prefix}{name}"), shape.clone(), mean, spread));
            let mark = ["{}", "{0}", "{1}", "{even}", "{odd}"];
            let Some(mark) = mark.into_iter().find(|mark| template.contains(*mark)) else {
                add(template.to_owned());
                continue;
            };
            for layer in 0..layers {
                let counts = match mark {
                    "{0}" => layer == 0,
                    "{1}" => layer > 0,
                    "{even}" => layer % 2 == 0,
                    "{odd}" => layer % 2 == 1,
                    _ => true,
                };
                if counts {
                    add(template.replace(mark, &layer.to_string()));
                }
            }
        }
    }
    rows
}

/// Entries of the vocabulary of the tokenizer that stands for the model's.
fn words(model: &Value) -> usize {
    let (json, _) = tokenizer(model, "");
    let json: Value = serde_json::from_slice(&json).unwrap();
    let vocab = &json["model"]["vocab"];
    let list = vocab.as_array().map(Vec::len);
    list.or_else(|| vocab.as_object().map(Map::len))
        .expect("a vocabulary")
}

/// Weight files by path.
fn weights(all: &Value, model: &Value, config: &Value, wanted: fn(&str) -> bool) -> Files {
    let mut files = Files::new();
    let file = |rows: &[Row]| synthetic::file(json!(rows).to_string().as_bytes());
    if wanted("model.safetensors") {
        let rows = tensors(all, model, config);
        files.insert("model.safetensors".to_owned(), file(&rows));
        if let Some(own) = model.get("adapter") {
            let matrices = adapter(&rows, &own["config"]);
            files.insert(adapter_file("adapter_model.safetensors"), file(&matrices));
        }
    }
    let mut linear = |path: String, out: usize, into: usize, bias: bool| {
        let mut rows: Vec<Row> = vec![("linear.weight".to_owned(), vec![out, into], 0.0, 0.1)];
        if bias {
            rows.push(("linear.bias".to_owned(), vec![out], 0.0, 0.1));
        }
        files.insert(path, file(&rows));
    };
    for (number, dense) in (2..).zip(denses(model, config)) {
        let path = format!("{number}_Dense/model.safetensors");
        let [out, into] = ["out_features", "in_features"].map(|field| size(&dense[field]));
        linear(path, out, into, dense["bias"] == true);
    }
    if let Some(pylate) = model.get("pylate") {
        let path = "1_Dense/model.safetensors".to_owned();
        linear(path, size(&pylate["dim"]), size(&hidden(config)), false);
    }
    if model.get("queries").is_some() {
        let words = words(model);
        let rows = [("weight".to_owned(), vec![words], 2.0, 1.0)];
        let path = "query_0_SparseStaticEmbedding/model.safetensors";
        files.insert(path.to_owned(), file(&rows));
    }
    if let Some(own) = model.get("autoencoder") {
        let [latents, into] = [&own["hidden_dim"], &hidden(config)].map(size);
        let rows = [
            ("pre_bias".to_owned(), vec![into], 0.0, 0.1),
            ("latent_bias".to_owned(), vec![latents], 0.0, 0.1),
            ("encoder.weight".to_owned(), vec![latents, into], 0.0, 0.1),
        ];
        files.insert(format!("{AUTOENCODER}/model.safetensors"), file(&rows));
    }
    if model.get("m3").is_some() {
        let into = size(&hidden(config));
        for (path, out) in [
            ("sparse_linear.safetensors", 1),
            ("colbert_linear.safetensors", into),
        ] {
            let rows = [
                ("weight".to_owned(), vec![out, into], 0.0, 0.1),
                ("bias".to_owned(), vec![out], 0.0, 0.1),
            ];
            files.insert(path.to_owned(), file(&rows));
        }
    }
    files
}

fn loader(model: &Value) -> Loader<Cpu> {
    let options = LoadOptions {
        model: text(model, "id").to_owned(),
        dtype: Some(WeightDtype::Q8),
        kind: (model["insist"] == true).then_some(Kind::Reranker),
        adapter: model.get("adapter").map(|_| ADAPTER.into()),
        ..LoadOptions::default()
    };
    Loader::new(Cpu::new(), options)
}

/// What becomes of a model: nothing where it loads and gives what it is made for, or the code of
/// the error.
fn outcome(all: &Value, model: &Value, kind: &str) -> Result<(), gossamer::Error> {
    // The small files as they are published, up to the first weights. Heads that may lie beside
    // these are small files, too.
    let exact = &model["config"];
    let mut files = folder(model, kind, exact);
    if model.get("m3").is_some() {
        let heads = weights(all, model, exact, |path| path.contains("_linear"));
        files.extend(heads);
    }
    let mut first = loader(model);
    let read = |name: &str| files.get(name).cloned();
    let found = next_weights(&mut first, read)?;
    if let Some(own) = model.get("adapter") {
        // The adapter comes before the other small files: one module of its first layer.
        let mut rows = tensors(all, model, exact);
        rows.retain(|(name, ..)| name.ends_with("layers.0.self_attn.q_proj.weight"));
        let rows = json!(adapter(&rows, &own["config"])).to_string();
        assert_eq!(found, Some(adapter_file("adapter_model.safetensors")));
        first.push(&synthetic::file(rows.as_bytes()))?;
        first.end()?;
        next_weights(&mut first, read)?;
    }

    let mut config = exact.clone();
    for (field, value) in model["small"].as_object().unwrap() {
        config[field] = value.clone();
    }
    if model.get("static").is_some() {
        // A table has a row for each entry.
        config["vocab_size"] = words(model).into();
    }
    let weights = weights(all, model, &config, |_| true);
    // The same with fewer layers and smaller tables, and weights.
    let files = folder(model, kind, &config);
    let read = |name: &str| files.get(name).or_else(|| weights.get(name)).cloned();
    let mut loader = loader(model);
    while let Some(name) = next_weights(&mut loader, read)? {
        let Some(bytes) = weights.get(&name) else {
            loader.provide(&name, None)?;
            continue;
        };
        for chunk in bytes.chunks(1 << 20) {
            loader.push(chunk)?;
        }
        loader.end()?;
    }
    let embedder = loader.finish()?;
    check(&embedder, model, kind)
}

fn check(embedder: &Embedder<Cpu>, model: &Value, kind: &str) -> Result<(), gossamer::Error> {
    let name = text(model, "id");
    let input = || vec![Input::from("the cat sat")];
    let fits = |values: &[f32]| {
        assert!(values.iter().all(|value| value.is_finite()), "{name}");
        assert!(values.iter().any(|value| *value != 0.0), "{name}");
    };
    let tasks: Vec<Option<String>> = embedder
        .tasks()
        .iter()
        .map(|task| Some((*task).to_owned()))
        .collect();
    let tasks = [vec![None], tasks].concat();
    match kind {
        "dense" | "static" => {
            assert_eq!(embedder.kind(), "dense", "{name}");
            for task in tasks {
                let options = EncodeOptions {
                    task,
                    ..EncodeOptions::default()
                };
                fits(&embedder.encode(input(), &options)?.data);
            }
            let expected = model["tasks"].as_array().map_or(0, Vec::len);
            assert_eq!(embedder.tasks().len(), expected, "{name}");
            assert_eq!(
                embedder.outputs().contains(&"colbert"),
                model.get("m3").is_some(),
                "{name}"
            );
        }
        "sparse" => {
            assert_eq!(embedder.kind(), "sparse", "{name}");
            for task in tasks {
                let options = SparseOptions {
                    task,
                    ..SparseOptions::default()
                };
                fits(&embedder.encode_sparse(input(), &options)?.vectors[0].values);
            }
        }
        "rerank" => {
            assert_eq!(embedder.kind(), "reranker", "{name}");
            let pair = Input::Pair("the cat".to_owned(), "sat".to_owned());
            fits(&embedder.score(vec![pair], &ScoreOptions::default())?.scores);
        }
        "late" => {
            // An encoder's states are not the model's vectors.
            assert!(embedder.outputs().contains(&"colbert"), "{name}");
            for task in ["query", "document"] {
                let options = TokenOptions {
                    task: Some(task.to_owned()),
                    ..TokenOptions::default()
                };
                let vectors = embedder.encode_tokens(input(), &options)?.token_vectors;
                fits(&vectors.unwrap()[0].data);
            }
        }
        other => panic!("no kind {other}"),
    }
    Ok(())
}

/// The part of docs/coverage.md that follows from the list, and the shares that load, of rows and
/// of downloads.
fn table() -> (String, [f64; 2]) {
    let (tensors, rows) = list();
    let mut lines = String::new();
    let (mut loaded, mut downloads, mut all) = (0.0, 0.0, 0.0);
    for row in &rows {
        let kind = text(row, "kind");
        let models = row["models"].as_array().unwrap();
        let mut refused = Vec::new();
        for model in models {
            if let Err(error) = outcome(&tensors, model, kind) {
                if std::env::var_os("GOSSAMER_WRITE_COVERAGE").is_some() {
                    println!("{}: {error}", text(model, "id"));
                }
                refused.push((text(model, "id"), error.code()));
            }
        }
        let number = row["downloads"].as_f64().unwrap();
        all += number;
        // A row of which some load counts in part.
        #[expect(clippy::cast_precision_loss, reason = "a few models")]
        let share = 1.0 - refused.len() as f64 / models.len() as f64;
        loaded += share;
        downloads += number * share;
        let answer = match refused.as_slice() {
            [] if models.iter().all(|model| model["insist"] == true) => {
                "with `kind: \"reranker\"`".to_owned()
            }
            [] if models.iter().all(|model| model.get("adapter").is_some()) => {
                format!("with `adapter: \"{ADAPTER}\"`")
            }
            [] => "yes".to_owned(),
            [(_, code), ..] if refused.len() == models.len() => format!("no: `{code}`"),
            some => {
                let some = some.iter().map(|(name, code)| format!("{name}: `{code}`"));
                format!("in part; {}", some.collect::<Vec<_>>().join(", "))
            }
        };
        let name = text(row, "name").replace('*', "\\*");
        let about = if row["estimate"] == true {
            "about "
        } else {
            ""
        };
        let family = text(row, "family");
        writeln!(
            lines,
            "| {name} | {kind} | {family} | {about}{number} | {answer} |"
        )
        .unwrap();
    }
    #[expect(clippy::cast_precision_loss, reason = "a few rows")]
    let count = rows.len() as f64;
    let shares = [loaded / count, downloads / all];
    let summary = format!(
        "{loaded} of {count} rows load, which is {:.1} %; weighted by downloads it is {:.2} %.",
        shares[0] * 100.0,
        shares[1] * 100.0
    );
    let head = "| model | kind | architecture | downloads a month, millions | loads |\n|---|---|---|---|---|";
    (format!("{summary}\n\n{head}\n{lines}"), shares)
}

/// docs/coverage.md says what happens. `GOSSAMER_WRITE_COVERAGE=1` writes it.
#[test]
fn the_most_used_models_load_or_are_refused_as_the_documentation_says() {
    const MARK: &str = "<!-- from here on: tests/native/coverage.rs -->\n\n";
    let (table, [rows, downloads]) = table();
    let path = root().join("docs/coverage.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, found) = page.split_once(MARK).expect("the page has the mark");
    if std::env::var_os("GOSSAMER_WRITE_COVERAGE").is_some() {
        std::fs::write(&path, [before, MARK, &table].concat()).unwrap();
    } else {
        assert_eq!(
            found, table,
            "run it with GOSSAMER_WRITE_COVERAGE=1 to write docs/coverage.md"
        );
    }
    assert!(
        rows >= 0.9 && downloads >= 0.99,
        "{rows} of the rows, {downloads} of the downloads"
    );
}
