//! `LoRA` adapters against PEFT (`tests/fixtures/lora_files.py`), and what is refused.

use std::path::{Path, PathBuf};

use gossamer::{Adapter, Cpu, Embedder, EncodeOptions, LoadOptions, Outcome, WeightDtype};
use serde_json::{Value, json};

use crate::common::saved::{open, saved};
use crate::common::synthetic;
use crate::common::{
    assert_close, cosine, fixture, inputs, load, load_as, read, reference, rows, texts,
};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

fn adapter(name: &str) -> PathBuf {
    fixture("lora").join(name)
}

/// The model of each adapter.
fn models() -> Vec<(String, String)> {
    let json = std::fs::read(fixture("lora/models.json")).unwrap();
    let models: serde_json::Map<String, Value> = serde_json::from_slice(&json).unwrap();
    let models = models.into_iter();
    models
        .map(|(name, base)| (name, base.as_str().unwrap().to_owned()))
        .collect()
}

fn options(folder: &Path, dtype: Option<WeightDtype>) -> LoadOptions {
    LoadOptions {
        model: "test".to_owned(),
        dtype,
        adapter: Some(folder.to_str().unwrap().into()),
        saveable: true,
        ..LoadOptions::default()
    }
}

fn merged(base: &str, name: &str, dtype: WeightDtype) -> gossamer::Result<Embedder<Cpu>> {
    load_as(
        Cpu::new(),
        &fixture(base),
        options(&adapter(name), Some(dtype)),
        &[],
        999,
    )
}

fn vectors(embedder: &Embedder<Cpu>) -> Vec<Vec<f32>> {
    let texts = texts("tiny-texts.json");
    let batch = embedder
        .encode(inputs(&texts), &EncodeOptions::default())
        .unwrap();
    batch
        .data
        .chunks_exact(batch.dimensions)
        .map(<[f32]>::to_vec)
        .collect()
}

#[track_caller]
fn assert_near(what: &str, ours: &[Vec<f32>], theirs: &[Vec<f32>], least: f64) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        let cosine = cosine(ours, theirs);
        assert!(cosine >= least, "{what}: {cosine}");
    }
}

#[test]
fn merged_adapters_give_the_vectors_of_peft() {
    let theirs = reference(&fixture("lora/references.safetensors"));
    let list = texts("tiny-texts.json");
    let models = models();
    assert!(models.len() >= 8);
    for (name, base) in models {
        let embedder = merged(&base, &name, WeightDtype::F32).unwrap();
        let theirs = rows(&theirs[&name]);
        let ours = vectors(&embedder);
        assert_close(&name, &list, ours.iter().map(Vec::as_slice), &theirs);
        let info = embedder.info().lora.clone().unwrap();
        assert_eq!(info.base.as_deref(), Some(base.as_str()));
        assert_eq!(info.adapter, adapter(&name).to_str().unwrap());
        let plain = load(&fixture(&base), WeightDtype::F32);
        assert_ne!(plain.space_id(), embedder.space_id(), "{name}");
        assert_eq!(
            (plain.info().lora.as_ref(), plain.info().parameters),
            (None, embedder.info().parameters)
        );
        // Through 8 bits: the delta is in the rows before they are quantised.
        let coarse = merged(&base, &name, WeightDtype::Q8).unwrap();
        assert_near(&name, &vectors(&coarse), &theirs, 0.97);
    }
}

#[test]
fn an_adapter_is_part_of_the_space_and_of_a_saved_model() {
    let [plain, dora] =
        ["plain", "dora"].map(|name| merged("tiny-bert", name, WeightDtype::Q8).unwrap());
    assert_ne!(plain.space_id(), dora.space_id());
    for dtype in [WeightDtype::Q8, WeightDtype::Q4, WeightDtype::F32] {
        let model = merged("tiny-bert", "plain", dtype).unwrap();
        let files = saved(&model, None, 1000);
        let again = open(&files, None).unwrap();
        assert_eq!(again.space_id(), model.space_id(), "{dtype:?}");
        assert_eq!(again.info().lora, model.info().lora, "{dtype:?}");
        assert_eq!(vectors(&again), vectors(&model), "{dtype:?}");
    }
    // The scale counts, too.
    let folder = adapter("plain");
    let config = changed(&folder, &[("lora_alpha", json!(7))]);
    let other = with("tiny-bert", &folder, &[(CONFIG, Some(&config))]).unwrap();
    assert_ne!(
        other.space_id(),
        merged("tiny-bert", "plain", WeightDtype::F32)
            .unwrap()
            .space_id()
    );
}

#[test]
fn an_adapter_is_merged_into_decoded_codes() {
    // What 8 bits make of the base, and the adapter in full.
    let base = saved(&load(&fixture("saved-qwen3"), WeightDtype::Q8), None, 1000);
    let folder = adapter("decoder");
    // The adapter of a model of another size does not fit.
    let read_file = |name: &str| {
        base.get(name)
            .cloned()
            .or_else(|| read(&folder, name.rsplit('/').next()?))
    };
    let error = load_files(options(&folder, None), read_file).err().unwrap();
    assert_eq!(error.code(), "wrong_shape", "{error}");

    let base = saved(&load(&fixture("tiny-qwen3"), WeightDtype::Q8), None, 1000);
    let read_file = |name: &str| base.get(name).cloned().or_else(|| std::fs::read(name).ok());
    let embedder = load_files(options(&folder, None), read_file).unwrap();
    assert_eq!(
        embedder.info().stored.as_ref().unwrap().outcome,
        Outcome::Requantized
    );
    let theirs = rows(&reference(&fixture("lora/references.safetensors"))["decoder"]);
    assert_near("decoded codes", &vectors(&embedder), &theirs, 0.97);
    let exact = load_files(options(&folder, Some(WeightDtype::F32)), read_file).unwrap();
    assert_near("decoded codes in f32", &vectors(&exact), &theirs, 0.98);
    // A second one is not merged into the first.
    let twice = saved(&embedder, None, 1000);
    let read_file = |name: &str| {
        twice
            .get(name)
            .cloned()
            .or_else(|| std::fs::read(name).ok())
    };
    let error = load_files(options(&folder, None), read_file).err().unwrap();
    assert!(
        error.code() == "invalid_input" && error.to_string().contains("load the original"),
        "{error}"
    );
}

fn load_files(
    options: LoadOptions,
    read: impl Fn(&str) -> Option<Vec<u8>>,
) -> gossamer::Result<Embedder<Cpu>> {
    let loader = gossamer::Loader::new(Cpu::new(), options);
    loader.read_files(|name| Ok(read(name).map(std::io::Cursor::new)))
}

#[test]
fn jina_embeddings_v5_takes_one_of_its_adapters() {
    let folder = fixture("tiny-jina-v5");
    let theirs = reference(&folder.join("reference.safetensors"));
    let list = texts("tiny-texts.json");
    for task in ["retrieval", "text-matching"] {
        let load = |dtype| {
            let options = LoadOptions {
                dtype: Some(dtype),
                adapter: Some(task.into()),
                saveable: true,
                ..LoadOptions::default()
            };
            load_as(Cpu::new(), &folder, options, &[], 999).unwrap()
        };
        let embedder = load(WeightDtype::F32);
        assert_eq!(embedder.info().family, "jina_embeddings_v5");
        let ours = vectors(&embedder);
        let ours = ours.iter().map(Vec::as_slice);
        assert_close(
            task,
            &list,
            ours,
            &rows(&theirs[&format!("{task}_embeddings")]),
        );
        let query = EncodeOptions {
            task: Some("query".to_owned()),
            ..EncodeOptions::default()
        };
        let ours = embedder.encode(inputs(&list), &query).unwrap();
        let ours = ours.data.chunks_exact(ours.dimensions);
        assert_close(
            task,
            &list,
            ours,
            &rows(&theirs[&format!("{task}_query_embeddings")]),
        );
        let coarse = load(WeightDtype::Q8);
        let again = open(&saved(&coarse, None, 1000), None).unwrap();
        assert_eq!(
            (again.space_id(), vectors(&again)),
            (coarse.space_id(), vectors(&coarse))
        );
        assert_eq!(again.info().lora.as_ref().unwrap().adapter, task);
    }
    let error = load_as(Cpu::new(), &folder, LoadOptions::default(), &[], 999)
        .err()
        .unwrap();
    assert_eq!(error.code(), "invalid_input", "{error}");
    assert!(
        error
            .to_string()
            .contains("\"retrieval\",\"text-matching\""),
        "{error}"
    );
    let unknown = LoadOptions {
        adapter: Some("clustering".into()),
        ..LoadOptions::default()
    };
    let error = load_as(Cpu::new(), &folder, unknown, &[], 999)
        .err()
        .unwrap();
    assert_eq!(error.code(), "missing_file", "{error}");
    assert!(
        error
            .to_string()
            .contains("adapters/clustering/adapter_config.json"),
        "{error}"
    );
}

/// The settings with other fields.
fn changed(folder: &Path, fields: &[(&str, Value)]) -> Vec<u8> {
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(folder.join(CONFIG)).unwrap()).unwrap();
    for (field, value) in fields {
        config[*field] = value.clone();
    }
    config.to_string().into_bytes()
}

/// A model with files of an adapter replaced.
fn with(
    base: &str,
    folder: &Path,
    changes: &[(&str, Option<&[u8]>)],
) -> gossamer::Result<Embedder<Cpu>> {
    let folder = folder.to_str().unwrap();
    let names: Vec<(String, Option<&[u8]>)> = changes
        .iter()
        .map(|(name, bytes)| (format!("{folder}/{name}"), *bytes))
        .collect();
    let changes: Vec<_> = names
        .iter()
        .map(|(name, bytes)| (name.as_str(), *bytes))
        .collect();
    let options = options(Path::new(folder), Some(WeightDtype::F32));
    load_as(Cpu::new(), &fixture(base), options, &changes, 999)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn settings_are_obeyed_or_refused_by_name() {
    let folder = adapter("plain");
    let refused = |fields: &[(&str, Value)], code: &str, part: &str| {
        let config = changed(&folder, fields);
        let error = with("tiny-bert", &folder, &[(CONFIG, Some(&config))]);
        let error = error.err().unwrap_or_else(|| panic!("{fields:?} loads"));
        assert!(error.to_string().contains(part), "{fields:?}: {error}");
        assert_eq!(error.code(), code, "{fields:?}: {error}");
    };
    let invalid = |field: &str, value: Value| refused(&[(field, value)], "invalid_config", field);
    refused(
        &[("peft_type", json!("LOHA"))],
        "unsupported_model",
        "LOHA (peft_type)",
    );
    invalid("peft_type", json!(null));
    for (field, value) in [
        ("layer_replication", json!([[0, 1]])),
        ("lora_bias", json!(true)),
        ("use_qalora", json!(true)),
        ("trainable_token_indices", json!([1, 2])),
        ("alora_invocation_tokens", json!([5])),
        ("target_parameters", json!(["x"])),
        ("megatron_config", json!({ "a": 1 })),
        ("ensure_weight_tying", json!(true)),
        ("kasa_config", json!({ "rank": 1 })),
        ("of_next_year", json!("x")),
        ("init_lora_weights", json!("pissa")),
        ("init_lora_weights", json!("olora")),
        ("init_lora_weights", json!("loftq")),
        ("bias", json!("some")),
        ("r", json!(0)),
        ("lora_alpha", json!("6")),
        ("target_modules", json!(null)),
        ("target_modules", json!(5)),
        ("target_modules", json!("(query")),
        ("target_modules", json!(["query", "value"])),
        ("exclude_modules", json!(["value"])),
        ("exclude_modules", json!(".*layer.1.*value")),
        ("layers_to_transform", json!([0])),
        ("layers_to_transform", json!(1)),
        ("modules_to_save", json!(["attention"])),
        ("rank_pattern", json!({ "query": "x" })),
        ("alpha_pattern", json!([1])),
    ] {
        invalid(field, value);
    }
    refused(
        &[("r", json!(5))],
        "invalid_config",
        "rank of encoder.layer.0",
    );
    refused(
        &[("rank_pattern", json!({ "query": 3 }))],
        "invalid_config",
        "self.query is 3",
    );
    // DoRA without its lengths, and lengths without DoRA.
    refused(
        &[("use_dora", json!(true))],
        "missing_tensor",
        "lora_magnitude_vector",
    );
    let dora = adapter("dora");
    let config = changed(&dora, &[("use_dora", json!(false))]);
    let error = with("tiny-bert", &dora, &[(CONFIG, Some(&config))])
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("lora_magnitude_vector"),
        "{error}"
    );
    // Biases and whole modules that the settings do not name.
    let config = changed(&dora, &[("bias", json!("none"))]);
    let error = with("tiny-bert", &dora, &[(CONFIG, Some(&config))])
        .err()
        .unwrap();
    assert!(
        error.code() == "unsupported_model" && error.to_string().contains(".bias"),
        "{error}"
    );
    let saved = adapter("saved");
    let config = changed(&saved, &[("modules_to_save", json!(null))]);
    let error = with("tiny-bert", &saved, &[(CONFIG, Some(&config))])
        .err()
        .unwrap();
    assert!(
        error.code() == "unsupported_model" && error.to_string().contains("no place"),
        "{error}"
    );
    // What has no effect.
    let plain = vectors(&with("tiny-bert", &folder, &[]).unwrap());
    for (field, value) in [
        ("lora_dropout", json!(0.5)),
        ("fan_in_fan_out", json!(true)),
        ("init_lora_weights", json!("gaussian")),
        ("layers_to_transform", json!([])),
        ("layers_to_transform", json!([0, 1])),
        ("target_modules", json!("all-linear")),
        ("target_modules", json!(r".*(query|value|dense)")),
        ("rank_pattern", json!({ "query": 4 })),
        ("base_model_name_or_path", json!("somebody/else")),
    ] {
        // The pooler is in no layer.
        let mut fields = vec![(field, value)];
        if field == "layers_to_transform" {
            fields.push((
                "target_modules",
                json!(["query", "value", "dense", "pooler.dense"]),
            ));
        }
        let config = changed(&folder, &fields);
        let embedder = with("tiny-bert", &folder, &[(CONFIG, Some(&config))]).unwrap();
        assert_eq!(vectors(&embedder), plain, "{fields:?}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn adapters_of_other_models_and_damaged_ones_are_refused() {
    let refused = |base: &str, name: &str, code: &str, part: &str| {
        let error = merged(base, name, WeightDtype::F32).err();
        let error = error.unwrap_or_else(|| panic!("{name} loads onto {base}"));
        assert!(
            error.to_string().contains(part),
            "{name} onto {base}: {error}"
        );
        assert_eq!(error.code(), code, "{name} onto {base}: {error}");
    };
    refused(
        "tiny-qwen3",
        "plain",
        "unsupported_model",
        "no place in this model",
    );
    refused(
        "tiny-bert",
        "decoder",
        "unsupported_model",
        "no place in this model",
    );
    refused(
        "tiny-deberta",
        "plain",
        "unsupported_model",
        "no place in this model",
    );
    refused(
        "static/sentence",
        "plain",
        "unsupported_model",
        "native road",
    );
    refused(
        "tiny-splade-pair",
        "plain",
        "unsupported_model",
        "and this one has 2",
    );
    refused("tiny-mistral", "decoder", "wrong_shape", "lora_");
    // A table that is the decoder, too.
    let table = adapter("table");
    let part = |part: &str, shape: [usize; 2]| {
        json!([
            format!("base_model.model.bert.embeddings.word_embeddings.lora_embedding_{part}"),
            shape,
            0.0,
            0.1
        ])
    };
    let list = json!([part("A", [3, 172]), part("B", [48, 3])]).to_string();
    let weights = synthetic::file(list.as_bytes());
    let error = with("tiny-splade", &table, &[(WEIGHTS, Some(&weights))])
        .err()
        .unwrap();
    assert!(
        error.code() == "unsupported_model" && error.to_string().contains("decoder"),
        "{error}"
    );

    let folder = adapter("plain");
    let whole = std::fs::read(folder.join(WEIGHTS)).unwrap();
    let missing = with("tiny-bert", &folder, &[(WEIGHTS, None)])
        .err()
        .unwrap();
    assert!(
        missing.code() == "missing_file" && missing.to_string().contains(WEIGHTS),
        "{missing}"
    );
    let missing = with("tiny-bert", &folder, &[(CONFIG, None)]).err().unwrap();
    assert!(
        missing.code() == "missing_file" && missing.to_string().contains(CONFIG),
        "{missing}"
    );
    for bytes in [&whole[..0], &whole[..100], &whole[..whole.len() - 1]] {
        let error = with("tiny-bert", &folder, &[(WEIGHTS, Some(bytes))])
            .err()
            .unwrap();
        assert_eq!(error.code(), "truncated_stream", "{error}");
    }
    // Infinity in the last value.
    let mut infinite = whole.clone();
    let at = infinite.len() - 4;
    infinite[at..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let error = with("tiny-bert", &folder, &[(WEIGHTS, Some(&infinite))])
        .err()
        .unwrap();
    assert!(error.to_string().contains("not finite"), "{error}");
    // A tensor of another name, a whole number, and one of a pair alone.
    let renamed = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let header =
            8 + usize::try_from(u64::from_le_bytes(whole[..8].try_into().unwrap())).unwrap();
        let text = std::str::from_utf8(&whole[8..header]).unwrap();
        assert!(text.contains(from));
        let text = text.replacen(from, to, 1);
        [&whole[..8], text.as_bytes(), &whole[header..]].concat()
    };
    for (from, to, code) in [
        (
            "layer.1.attention.self.value.lora_A",
            "layer.7.attention.self.value.lora_A",
            "unsupported_model",
        ),
        (
            "layer.1.attention.self.value.lora_A",
            "layer.1.attention.self.values.lor_A",
            "unsupported_model",
        ),
        ("lora_A", "lora_C", "unsupported_model"),
        ("\"F32\"", "\"I32\"", "wrong_dtype"),
    ] {
        let bytes = renamed(from, to);
        let error = with("tiny-bert", &folder, &[(WEIGHTS, Some(&bytes))]).err();
        let error = error.unwrap_or_else(|| panic!("{to} loads"));
        assert!(
            [code, "missing_tensor", "invalid_config"].contains(&error.code()),
            "{to}: {error}"
        );
    }
}

#[test]
fn an_adapter_that_is_taken_for_a_model_says_which_model_to_load() {
    let error = load_as(
        Cpu::new(),
        &adapter("plain"),
        LoadOptions::default(),
        &[],
        999,
    )
    .err()
    .unwrap();
    assert_eq!(error.code(), "unsupported_model");
    assert!(
        error
            .to_string()
            .contains("load tiny-bert with it as the option `adapter`"),
        "{error}"
    );
    // A model beside an adapter is a model.
    let folder = adapter("plain");
    let config = std::fs::read(folder.join(CONFIG)).unwrap();
    let options = LoadOptions::default();
    load_as(
        Cpu::new(),
        &fixture("tiny-bert"),
        options,
        &[(CONFIG, Some(&config))],
        999,
    )
    .unwrap();
}

#[test]
fn a_name_is_a_folder_of_the_models_own() {
    assert_eq!(Adapter::from("retrieval").folder, "adapters/retrieval");
    assert_eq!(Adapter::from("./a/b/").folder, "./a/b");
}
