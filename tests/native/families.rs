//! A tiny random model of each family and head against transformers and sentence-transformers.

use std::path::Path;

use crate::common::{
    assert_close, assert_sparse, fixture, inputs, load, load_with, reference, rows, texts,
};
use serde_json::json;

use gossamer::{
    EncodeOptions, Error, Input, MultiOptions, SparseOptions, TokenHead, TokenOptions, WeightDtype,
};

fn list() -> Vec<(String, String)> {
    texts("tiny-texts.json")
}

fn changed<'a>(folder: &Path, pairs: &[(&'a str, &str)]) -> Vec<(&'a str, Option<Vec<u8>>)> {
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    pairs
        .iter()
        .map(|(to, from)| (*to, Some(read(from))))
        .collect()
}

#[track_caller]
fn assert_dense(name: &str, family: &str) {
    let texts = list();
    assert!(texts.len() >= 12);
    let folder = fixture(name);
    let embedder = load(&folder, WeightDtype::F32);
    assert_eq!((embedder.info().family, embedder.kind()), (family, "dense"));
    let theirs = reference(&folder.join("reference.safetensors"));
    let ours = embedder
        .encode(inputs(&texts), &EncodeOptions::default())
        .unwrap();
    let offsets: Vec<i32> = theirs["offsets"].to_vec1().unwrap();
    let counts = offsets
        .windows(2)
        .map(|pair| u32::try_from(pair[1] - pair[0]).unwrap());
    assert_eq!(ours.tokens, counts.collect::<Vec<_>>(), "{name}");
    assert!(
        ours.truncated.contains(&true),
        "{name}: no text is over-long"
    );
    assert_close(
        name,
        &texts,
        ours.data.chunks_exact(ours.dimensions),
        &rows(&theirs["embeddings"]),
    );

    // 8-bit weights of so small a model are coarse: this is to see that they go through every
    // branch.
    let coarse = load(&folder, WeightDtype::Q8);
    let coarse = coarse
        .encode(inputs(&texts), &EncodeOptions::default())
        .unwrap();
    for (a, b) in coarse
        .data
        .chunks_exact(ours.dimensions)
        .zip(ours.data.chunks_exact(ours.dimensions))
    {
        let cosine = crate::common::cosine(a, b);
        assert!(cosine > 0.97, "{name} q8: {cosine}");
    }
}

#[test]
fn mpnet() {
    assert_dense("tiny-mpnet", "mpnet");
}

#[test]
fn modernbert() {
    assert_dense("tiny-modernbert", "modernbert");
}

#[test]
fn nomic_bert_in_both_spellings() {
    assert_dense("tiny-nomic", "nomic_bert");
    let folder = fixture("tiny-nomic");
    let weights = crate::common::synthetic::file(
        &std::fs::read(folder.join("native.safetensors.json")).unwrap(),
    );
    let mut changes = changed(&folder, &[("config.json", "native.json")]);
    changes.push(("model.safetensors", Some(weights)));
    let changes: Vec<_> = changes
        .iter()
        .map(|(name, bytes)| (*name, bytes.as_deref()))
        .collect();
    let embedder = load_with(&folder, WeightDtype::F32, &changes, 999).unwrap();
    let ours = embedder
        .encode(inputs(&list()), &EncodeOptions::default())
        .unwrap();
    let theirs = reference(&folder.join("reference.safetensors"));
    let ours = ours.data.chunks_exact(ours.dimensions);
    assert_close("native", &list(), ours, &rows(&theirs["native_embeddings"]));
}

#[test]
fn qwen3_with_and_without_its_instruction() {
    assert_dense("tiny-qwen3", "qwen3");
    assert_query("tiny-qwen3", "query");
}

#[test]
fn voyage_projects_the_states_of_a_bidirectional_qwen3() {
    assert_dense("tiny-voyage", "qwen3_bidirectional");
    let embedder = load(&fixture("tiny-voyage"), WeightDtype::F32);
    assert_eq!(embedder.dimensions(), 70);
    let theirs = reference(&fixture("tiny-voyage").join("reference.safetensors"));
    let query = EncodeOptions {
        prompt_name: Some("query".to_owned()),
        ..EncodeOptions::default()
    };
    let ours = embedder.encode(inputs(&list()), &query).unwrap();
    let ours = ours.data.chunks_exact(ours.dimensions);
    assert_close("query", &list(), ours, &rows(&theirs["query_embeddings"]));
    // A token's vector is the projection of its state, too.
    let tokens = embedder.encode_tokens(inputs(&list()), &TokenOptions::default());
    let tokens = tokens.unwrap().token_vectors.unwrap();
    for (one, theirs) in tokens.iter().zip(rows(&theirs["embeddings"])) {
        let mut sum = vec![0.0; one.dimensions];
        for row in one.data.chunks_exact(one.dimensions) {
            sum.iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += value);
        }
        assert!(crate::common::cosine(&sum, &theirs) > 0.99999);
    }
}

#[test]
fn pplx_rounds_vectors_to_whole_numbers() {
    let folder = fixture("tiny-pplx");
    let embedder = load(&folder, WeightDtype::F32);
    assert_eq!(embedder.info().family, "bidirectional_pplx_qwen3");
    let theirs = reference(&folder.join("reference.safetensors"));
    let ours = embedder
        .encode(inputs(&list()), &EncodeOptions::default())
        .unwrap();
    let mut other = 0;
    let vectors = ours.data.chunks_exact(ours.dimensions);
    for ((ours, theirs), exact) in vectors
        .zip(rows(&theirs["embeddings"]))
        .zip(rows(&theirs["exact_embeddings"]))
    {
        assert!(crate::common::cosine(ours, &theirs) >= 0.99999);
        for ((ours, theirs), exact) in ours.iter().zip(theirs).zip(exact) {
            assert!(ours.fract().abs() < f32::EPSILON);
            let differs = (ours - theirs).abs() > 0.5;
            // The other side of a half.
            let is_half = (exact.abs().fract() - 0.5).abs() < 1e-3;
            assert!(!differs || (is_half && (ours - theirs).abs() < 1.5));
            other += u32::from(differs);
        }
    }
    assert!(other <= 1, "{other} of {} differ", ours.data.len());
    let unit = EncodeOptions {
        normalize: Some(true),
        ..EncodeOptions::default()
    };
    let unit = embedder.encode(inputs(&list()), &unit).unwrap();
    for (one, whole) in unit
        .data
        .chunks_exact(unit.dimensions)
        .zip(ours.data.chunks_exact(ours.dimensions))
    {
        let length = whole.iter().map(|value| value * value).sum::<f32>().sqrt();
        for (one, whole) in one.iter().zip(whole) {
            assert!((one * length - whole).abs() < 1e-3);
        }
    }
}

#[test]
fn both_directions_of_qwen3_are_as_their_authors_say_or_refused() {
    let changed = |name: &str, field: &str, value: serde_json::Value| {
        let mut change = serde_json::Map::new();
        change.insert(field.to_owned(), value);
        let error = changed_config(name, &serde_json::Value::Object(change)).err();
        error.unwrap_or_else(|| panic!("{name} loads with another {field}"))
    };
    for name in ["tiny-voyage", "tiny-pplx"] {
        for (field, value) in [
            ("use_bidirectional_attention", json!(false)),
            ("use_sliding_window", json!(true)),
            (
                "layer_types",
                json!(["sliding_attention", "full_attention"]),
            ),
        ] {
            let error = changed(name, field, value);
            assert_eq!(error.code(), "invalid_config", "{name}: {error}");
            assert!(error.to_string().contains(field), "{name}: {error}");
        }
    }
    let error = changed("tiny-voyage", "num_labels", json!(71));
    assert_eq!(error.code(), "wrong_shape", "{error}");
    // The code of somebody else is not known to be the same.
    let code = "somebody/x--modeling_qwen3_bidirectional.Qwen3BidirectionalModel";
    let error = changed("tiny-voyage", "auto_map", json!({ "AutoModel": code }));
    assert_eq!(error.code(), "unsupported_model", "{error}");
}

#[test]
fn mistral_ends_every_text_with_the_closing_token() {
    assert_dense("tiny-mistral", "mistral");
    assert_query("tiny-mistral", "web_search_query");
}

/// The same by the prompt's name, by the instruction that it holds, and by its text.
fn assert_query(name: &str, prompt: &str) {
    let folder = fixture(name);
    let embedder = load(&folder, WeightDtype::F32);
    let text = embedder.info().prompts.named[prompt].clone();
    let task = "Given a web search query, retrieve relevant passages that answer the query";
    let by_name = EncodeOptions {
        prompt_name: Some(prompt.to_owned()),
        ..EncodeOptions::default()
    };
    let by_text = EncodeOptions {
        prompt: Some(text),
        ..EncodeOptions::default()
    };
    let by_instruction = EncodeOptions {
        instruction: Some(task.to_owned()),
        ..EncodeOptions::default()
    };
    let theirs = reference(&folder.join("reference.safetensors"));
    for options in [by_name, by_text, by_instruction] {
        let ours = embedder.encode(inputs(&list()), &options).unwrap();
        let ours = ours.data.chunks_exact(ours.dimensions);
        assert_close(name, &list(), ours, &rows(&theirs["query_embeddings"]));
    }
}

/// The vectors with fields of config.json changed against the reference `{variant}_embeddings`.
#[track_caller]
fn assert_variant(name: &str, variant: &str, change: &serde_json::Value) {
    let folder = fixture(name);
    let config = std::fs::read(folder.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    for (field, value) in change.as_object().unwrap() {
        config[field] = value.clone();
    }
    let config = config.to_string().into_bytes();
    let changes = [("config.json", Some(config.as_slice()))];
    let embedder = load_with(&folder, WeightDtype::F32, &changes, 999).unwrap();
    let ours = embedder
        .encode(inputs(&list()), &EncodeOptions::default())
        .unwrap();
    let theirs = reference(&folder.join("reference.safetensors"));
    let theirs = rows(&theirs[&format!("{variant}_embeddings")]);
    let ours = ours.data.chunks_exact(ours.dimensions);
    assert_close(&format!("{name}, {variant}"), &list(), ours, &theirs);
}

#[test]
fn qwen2_causal_bidirectional_and_with_a_window() {
    assert_dense("tiny-qwen2", "qwen2");
    assert_variant(
        "tiny-qwen2",
        "bidirectional",
        &json!({ "is_causal": false }),
    );
    let window = json!({ "use_sliding_window": true, "sliding_window": 6 });
    assert_variant("tiny-qwen2", "window", &window);
}

#[test]
fn llama_with_each_scaling_of_its_rotary_positions() {
    assert_dense("tiny-llama", "llama");
    assert_variant(
        "tiny-llama",
        "bidirectional",
        &json!({ "is_causal": false }),
    );
    let yarn =
        json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16 });
    assert_variant("tiny-llama", "yarn", &json!({ "rope_scaling": yarn }));
    let mut mscale = yarn;
    for (field, value) in [
        ("mscale", json!(0.7)),
        ("mscale_all_dim", json!(1.4)),
        ("truncate", json!(false)),
        ("beta_fast", json!(8)),
    ] {
        mscale[field] = value;
    }
    assert_variant("tiny-llama", "mscale", &json!({ "rope_scaling": mscale }));
    let dynamic = json!({ "rope_type": "dynamic", "factor": 3.0 });
    assert_variant("tiny-llama", "dynamic", &json!({ "rope_scaling": dynamic }));
}

#[test]
fn eurobert() {
    assert_dense("tiny-eurobert", "eurobert");
}

#[test]
fn electra_with_narrow_embeddings() {
    assert_dense("tiny-electra", "electra");
}

#[test]
fn albert_whose_layers_are_one() {
    assert_dense("tiny-albert", "albert");
}

#[test]
fn gte_as_published_and_as_transformers_has_it() {
    assert_dense("tiny-gte", "gte");
    let folder = fixture("tiny-gte");
    let plain = std::fs::read(folder.join("plain.json")).unwrap();
    let plain: serde_json::Value = serde_json::from_slice(&plain).unwrap();
    let mut change = plain;
    for field in ["rope_scaling", "auto_map"] {
        change[field] = serde_json::Value::Null;
    }
    assert_variant("tiny-gte", "plain", &change);
}

/// What these families have and this crate does not is refused by its name.
#[test]
fn fields_of_the_new_families_that_are_not_implemented() {
    for (name, field, value) in [
        ("tiny-qwen2", "use_bidirectional_attention", json!(true)),
        ("tiny-qwen2", "is_causal", json!(null)),
        ("tiny-llama", "use_bidirectional_attention", json!(true)),
        (
            "tiny-llama",
            "rope_scaling",
            json!({ "rope_type": "longrope", "factor": 2.0 }),
        ),
        (
            "tiny-llama",
            "rope_scaling",
            json!({ "rope_type": "llama3", "factor": 2.0 }),
        ),
        ("tiny-eurobert", "is_causal", json!(true)),
        (
            "tiny-electra",
            "position_embedding_type",
            json!("relative_key"),
        ),
        ("tiny-electra", "is_decoder", json!(true)),
        ("tiny-albert", "num_hidden_groups", json!(2)),
        ("tiny-albert", "inner_group_num", json!(2)),
        ("tiny-gte", "layer_norm_type", json!("rms_norm")),
        ("tiny-gte", "position_embedding_type", json!("absolute")),
        ("tiny-gte", "pack_qkv", json!(false)),
        ("tiny-gte", "logn_attention_scale", json!(true)),
        (
            "tiny-gte",
            "rope_scaling",
            json!({ "type": "ntk", "factor": 2.0, "mixed_b": 0.6 }),
        ),
        ("tiny-gte", "rope_scaling", json!({ "type": "ntk" })),
    ] {
        let folder = fixture(name);
        let config = std::fs::read(folder.join("config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        config[field] = value.clone();
        let config = config.to_string().into_bytes();
        let changes = [("config.json", Some(config.as_slice()))];
        let error = load_with(&folder, WeightDtype::F32, &changes, 999).err();
        let error = error.unwrap_or_else(|| panic!("{name} loads with {field} {value}"));
        assert_eq!(error.code(), "invalid_config", "{name}: {error}");
        assert!(error.to_string().contains(field), "{name}: {error}");
    }
}

#[test]
fn gemma3_with_its_dense_modules() {
    assert_dense("tiny-gemma3", "gemma3");
}

#[test]
fn t5_encoder() {
    assert_dense("tiny-t5", "t5");
    let mt5 = json!({
        "model_type": "mt5",
        "architectures": ["MT5EncoderModel"],
        "feed_forward_proj": null,
    });
    assert_variant("tiny-t5", "mt5", &mt5);
}

#[test]
fn jina_bert() {
    assert_dense("tiny-jina", "jina_bert");
}

#[test]
fn jina_bert_with_norms_of_queries_and_keys() {
    assert_dense("tiny-jina-qk", "jina_bert_qk");
    // A model that was made of another has the name of the code here.
    let change = json!({ "auto_map": null, "_name_or_path": "jinaai/jina-bert-v2-qk-post-norm" });
    let embedder = changed_config("tiny-jina-qk", &change).unwrap();
    assert_eq!(embedder.info().family, "jina_bert_qk");
    // As the other implementation it lacks tensors.
    let change = json!({ "auto_map": null });
    let error = changed_config("tiny-jina-qk", &change).err().unwrap();
    assert_eq!(error.code(), "missing_tensor", "{error}");
}

#[test]
fn nomic_bert_with_experts() {
    assert_dense("tiny-nomic-moe", "nomic_bert_moe");
    for (field, value) in [
        ("moe_top_k", json!(6)),
        ("moe_normalize_expert_weights", json!(true)),
        ("expert_choice_router", json!(true)),
        ("num_shared_experts", json!(1)),
        ("ffn_div", json!(2)),
        ("activation_function", json!("swiglu")),
        ("moe_every_n_layers", json!(0)),
        ("prenorm", json!(true)),
    ] {
        let error = changed_config("tiny-nomic-moe", &json!({ field: value }));
        let error = error.err().unwrap_or_else(|| panic!("{field} is obeyed"));
        assert_eq!(error.code(), "invalid_config", "{error}");
        assert!(error.to_string().contains(field), "{error}");
    }
    // Other layers have experts, which the file does not have.
    let error = changed_config("tiny-nomic-moe", &json!({ "moe_every_n_layers": 3 }));
    assert_eq!(error.err().unwrap().code(), "missing_tensor");
}

/// What a text gets does not depend on which tokens of other texts take the same experts.
#[test]
fn experts_give_a_text_the_same_bits_in_every_batch() {
    for dtype in [WeightDtype::F32, WeightDtype::Q8, WeightDtype::Q4] {
        let embedder = load(&fixture("tiny-nomic-moe"), dtype);
        let options = EncodeOptions::default();
        let texts = list();
        let all = embedder.encode(inputs(&texts), &options).unwrap();
        for (text, together) in texts.iter().zip(all.data.chunks_exact(all.dimensions)) {
            let alone = embedder
                .encode(inputs(std::slice::from_ref(text)), &options)
                .unwrap();
            assert_eq!(alone.data, together, "{}", text.0);
        }
    }
}

#[test]
fn jina_embeddings_v3_has_adapters_for_tasks() {
    let folder = fixture("tiny-jina-v3");
    assert_dense("tiny-jina-v3", "xlm_roberta_flash");
    let theirs = reference(&folder.join("reference.safetensors"));
    let tasks = ["retrieval.query", "retrieval.passage", "text-matching"];
    for (dtype, least) in [(WeightDtype::F32, 0.99999), (WeightDtype::Q8, 0.97)] {
        let embedder = load(&folder, dtype);
        assert_eq!(embedder.tasks(), tasks);
        for (task, name) in tasks
            .iter()
            .map(|task| (*task, *task))
            .chain([("query", tasks[0]), ("document", tasks[1])])
        {
            let options = EncodeOptions {
                task: Some(task.to_owned()),
                ..EncodeOptions::default()
            };
            let ours = embedder.encode(inputs(&list()), &options).unwrap();
            let theirs = rows(&theirs[format!("{name}_embeddings").as_str()]);
            let ours = ours.data.chunks_exact(ours.dimensions);
            if dtype == WeightDtype::F32 {
                assert_close(task, &list(), ours, &theirs);
                continue;
            }
            for (ours, theirs) in ours.zip(&theirs) {
                let cosine = crate::common::cosine(ours, theirs);
                assert!(cosine > least, "{task} {dtype:?}: {cosine}");
            }
        }
        let options = EncodeOptions {
            task: Some("classification".to_owned()),
            ..EncodeOptions::default()
        };
        let error = embedder.encode(inputs(&list()), &options).unwrap_err();
        assert!(error.to_string().contains("text-matching"), "{error}");
    }
}

#[test]
fn jina_embeddings_v3_in_the_spelling_of_transformers() {
    let folder = fixture("tiny-jina-v3");
    let weights = std::fs::read(folder.join("transformers.safetensors.json")).unwrap();
    let mut changes = changed(&folder, &[("config.json", "transformers.json")]);
    changes.push((
        "model.safetensors",
        Some(crate::common::synthetic::file(&weights)),
    ));
    let changes: Vec<_> = changes
        .iter()
        .map(|(name, bytes)| (*name, bytes.as_deref()))
        .collect();
    // Without adapters the module that takes a task is something else.
    let error = load_with(&folder, WeightDtype::F32, &changes, 999)
        .err()
        .unwrap();
    assert_eq!(error.code(), "unsupported_model", "{error}");
    let modules = std::fs::read_to_string(folder.join("modules.json")).unwrap();
    let modules = modules.replace("custom_st", "sentence_transformers.models");
    let mut changes = changes;
    changes.push(("modules.json", Some(modules.as_bytes())));
    let embedder = load_with(&folder, WeightDtype::F32, &changes, 999).unwrap();
    assert!(embedder.tasks().is_empty());
    let ours = embedder
        .encode(inputs(&list()), &EncodeOptions::default())
        .unwrap();
    let theirs = reference(&folder.join("reference.safetensors"));
    let ours = ours.data.chunks_exact(ours.dimensions);
    assert_close("native", &list(), ours, &rows(&theirs["native_embeddings"]));
}

#[test]
fn what_adapters_do_not_fit_is_refused() {
    for (change, code) in [
        (json!({ "lora_rank": 4 }), "wrong_shape"),
        (json!({ "lora_adaptations": [] }), "invalid_config"),
        (
            json!({ "lora_adaptations": ["a", "a", "b"] }),
            "invalid_config",
        ),
        (json!({ "lora_adaptations": ["a", "b"] }), "wrong_shape"),
        (json!({ "lora_alpha": 0 }), "invalid_config"),
        (json!({ "load_trained_adapters": false }), "invalid_config"),
        (json!({ "use_reg_tokens": true }), "invalid_config"),
        (
            json!({ "position_embedding_type": "alibi" }),
            "invalid_config",
        ),
        // Without adapters the weights have other names.
        (json!({ "lora_adaptations": null }), "unsupported_model"),
    ] {
        let error = changed_config("tiny-jina-v3", &change).err();
        let error = error.unwrap_or_else(|| panic!("{change} is obeyed"));
        assert_eq!(error.code(), code, "{change}: {error}");
    }
}

#[test]
fn gemma2_with_and_without_bounded_scores() {
    assert_dense("tiny-gemma2", "gemma2");
    let uncapped = json!({ "attn_logit_softcapping": null });
    assert_variant("tiny-gemma2", "uncapped", &uncapped);
    assert_variant(
        "tiny-gemma2",
        "bidirectional",
        &json!({ "is_causal": false }),
    );
}

/// Code of authors' own whose attention is bidirectional, which transformers says as
/// `is_causal: false`.
#[test]
fn bidirectional_decoders_by_their_code() {
    for (name, change) in [
        (
            "tiny-qwen2",
            json!({ "auto_map": {
                "AutoModel": "modeling_qwen.Qwen2Model", "AutoModelForCausalLM": "modeling_qwen.Qwen2ForCausalLM",
            } }),
        ),
        (
            "tiny-llama",
            json!({ "model_type": "llama_bidirec", "architectures": ["LlamaBidirectionalModel"], "pooling": "avg", "auto_map": {
                "AutoConfig": "llama_bidirectional_model.LlamaBidirectionalConfig",
                "AutoModel": "llama_bidirectional_model.LlamaBidirectionalModel",
            } }),
        ),
    ] {
        let embedder = changed_config(name, &change).unwrap();
        let ours = embedder
            .encode(inputs(&list()), &EncodeOptions::default())
            .unwrap();
        let theirs = reference(&fixture(name).join("reference.safetensors"));
        let theirs = rows(&theirs["bidirectional_embeddings"]);
        assert_close(
            name,
            &list(),
            ours.data.chunks_exact(ours.dimensions),
            &theirs,
        );
    }
    let elsewhere =
        json!({ "auto_map": { "AutoModel": "someone/model--modeling_qwen.Qwen2Model" } });
    let error = changed_config("tiny-qwen2", &elsewhere).err().unwrap();
    assert_eq!(error.code(), "unsupported_model", "{error}");
}

/// A tiny model with fields of its config.json changed.
fn changed_config(
    name: &str,
    change: &serde_json::Value,
) -> gossamer::Result<gossamer::Embedder<gossamer::Cpu>> {
    let folder = fixture(name);
    let config = std::fs::read(folder.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    for (field, value) in change.as_object().unwrap() {
        config[field] = value.clone();
    }
    let config = config.to_string();
    let changes = [("config.json", Some(config.as_bytes()))];
    load_with(&folder, WeightDtype::F32, &changes, 999)
}

#[test]
fn deberta() {
    assert_dense("tiny-deberta", "deberta-v2");
    // How many distances a pass needs depends on its longest text.
    for dtype in [WeightDtype::F32, WeightDtype::Q8] {
        let embedder = load(&fixture("tiny-deberta"), dtype);
        let all = texts("tiny-texts.json");
        let all: Vec<Input> = all
            .iter()
            .map(|(_, text)| Input::from(text.as_str()))
            .collect();
        let encode = |inputs| embedder.encode(inputs, &EncodeOptions::default()).unwrap();
        let together = encode(all.clone()).data;
        let alone = all.into_iter().flat_map(|input| encode(vec![input]).data);
        assert_eq!(together, alone.collect::<Vec<_>>());
    }
}

#[test]
fn splade_of_roberta_modernbert_mpnet_and_gte() {
    for (name, family) in [
        ("tiny-roberta-splade", "roberta"),
        ("tiny-modernbert-splade", "modernbert"),
        ("tiny-mpnet-splade", "mpnet"),
        ("tiny-gte-splade", "gte"),
    ] {
        let folder = fixture(name);
        let embedder = load(&folder, WeightDtype::F32);
        assert_eq!(
            (embedder.info().family, embedder.kind()),
            (family, "sparse")
        );
        let ours = embedder
            .encode_sparse(inputs(&list()), &SparseOptions::default())
            .unwrap();
        let theirs = reference(&folder.join("reference.safetensors"));
        assert_sparse(name, &list(), &ours.vectors, &rows(&theirs["embeddings"]));
    }
}

#[test]
fn every_splade_strategy_equals_the_reference() {
    let folder = fixture("tiny-splade");
    let theirs = reference(&fixture("tiny-splade-strategies.safetensors"));
    for strategy in ["max", "sum"] {
        for activation in ["relu", "log1p_relu"] {
            let config = format!(
                r#"{{"pooling_strategy":"{strategy}","activation_function":"{activation}"}}"#
            );
            let changes = [("1_SpladePooling/config.json", Some(config.as_bytes()))];
            let embedder = load_with(&folder, WeightDtype::F32, &changes, 1000).unwrap();
            let ours = embedder
                .encode_sparse(inputs(&list()), &SparseOptions::default())
                .unwrap();
            let name = format!("{strategy}_{activation}");
            assert_sparse(&name, &list(), &ours.vectors, &rows(&theirs[&name]));
        }
    }
}

#[test]
fn states_of_tokens_equal_the_reference() {
    let texts = list();
    let embedder = load(&fixture("tiny-bert"), WeightDtype::F32);
    let theirs = reference(&fixture("tiny-bert-tokens.safetensors"));
    let (states, offsets) = (
        rows(&theirs["states"]),
        theirs["offsets"].to_vec1::<i32>().unwrap(),
    );
    let ours = embedder
        .encode_tokens(inputs(&texts), &TokenOptions::default())
        .unwrap();
    for ((ours, pair), text) in ours
        .token_vectors
        .unwrap()
        .iter()
        .zip(offsets.windows(2))
        .zip(&texts)
    {
        let range = usize::try_from(pair[0]).unwrap()..usize::try_from(pair[1]).unwrap();
        assert_eq!((ours.data.len(), ours.dimensions), (range.len() * 48, 48));
        let names = vec![text.clone(); range.len()];
        assert_close("states", &names, ours.data.chunks_exact(48), &states[range]);
    }
    let colbert = TokenOptions {
        head: Some(TokenHead::Colbert),
        ..TokenOptions::default()
    };
    let error = embedder
        .encode_tokens(inputs(&texts), &colbert)
        .unwrap_err();
    assert!(error.to_string().contains("colbert_linear"), "{error}");
}

#[test]
fn m3_gives_dense_lexical_and_token_vectors_of_one_pass() {
    let texts = list();
    let folder = fixture("tiny-m3");
    assert_dense("tiny-m3", "roberta");
    let embedder = load(&folder, WeightDtype::F32);
    assert_eq!(embedder.outputs(), ["dense", "sparse", "tokens", "colbert"]);
    let theirs = reference(&folder.join("reference.safetensors"));
    let all = MultiOptions {
        dense: true,
        sparse: true,
        tokens: true,
        ..MultiOptions::default()
    };
    let ours = embedder.encode_multi(inputs(&texts), &all).unwrap();
    let dense = ours.dense.clone().unwrap();
    assert_close(
        "dense",
        &texts,
        dense.chunks_exact(48),
        &rows(&theirs["embeddings"]),
    );
    let sparse = ours.sparse.clone().unwrap();
    assert_sparse("lexical", &texts, &sparse, &rows(&theirs["lexical"]));
    let (vectors, ends) = (
        rows(&theirs["colbert"]),
        theirs["colbert_offsets"].to_vec1::<i32>().unwrap(),
    );
    for ((ours, pair), text) in ours
        .token_vectors
        .unwrap()
        .iter()
        .zip(ends.windows(2))
        .zip(&texts)
    {
        let range = usize::try_from(pair[0]).unwrap()..usize::try_from(pair[1]).unwrap();
        let names = vec![text.clone(); range.len()];
        assert_eq!(ours.data.len(), range.len() * 40);
        assert_close(
            "colbert",
            &names,
            ours.data.chunks_exact(40),
            &vectors[range],
        );
    }
    // Each by itself is the same.
    let alone = embedder
        .encode(inputs(&texts), &EncodeOptions::default())
        .unwrap();
    assert_eq!(alone.data, dense);
    let alone = embedder
        .encode_sparse(inputs(&texts), &SparseOptions::default())
        .unwrap();
    assert_eq!(alone.vectors, sparse);
    // Without the files of its heads it is a dense model like any other.
    let changes = [
        ("sparse_linear.safetensors", None),
        ("colbert_linear.safetensors", None),
    ];
    let plain = load_with(&folder, WeightDtype::F32, &changes, 1000).unwrap();
    assert_eq!(plain.outputs(), ["dense", "tokens"]);
    let error = plain
        .encode_sparse(inputs(&texts), &SparseOptions::default())
        .unwrap_err();
    assert_eq!(error.code(), "wrong_model_kind");
}

fn task(name: &str) -> SparseOptions {
    SparseOptions {
        task: Some(name.to_owned()),
        ..SparseOptions::default()
    }
}

#[test]
fn routers_take_queries_and_documents_their_own_ways() {
    let texts = list();
    for (name, family) in [
        ("tiny-inference-free", "distilbert"),
        ("tiny-splade-pair", "distilbert"),
    ] {
        let folder = fixture(name);
        let embedder = load(&folder, WeightDtype::F32);
        assert_eq!(
            (embedder.info().family, embedder.tasks()),
            (family, vec!["document", "query"])
        );
        let theirs = reference(&folder.join("reference.safetensors"));
        for (task, tensor) in [("document", "embeddings"), ("query", "query_embeddings")] {
            let ours = embedder
                .encode_sparse(inputs(&texts), &self::task(task))
                .unwrap();
            assert_sparse(
                &format!("{name} {task}"),
                &texts,
                &ours.vectors,
                &rows(&theirs[tensor]),
            );
        }
        let default = embedder
            .encode_sparse(inputs(&texts), &SparseOptions::default())
            .unwrap();
        assert_eq!(
            default,
            embedder
                .encode_sparse(inputs(&texts), &task("document"))
                .unwrap()
        );
        let error = embedder
            .encode_sparse(inputs(&texts), &task("passage"))
            .unwrap_err();
        assert!(
            matches!(&error, Error::InvalidInput { .. })
                && error.to_string().contains("document, query"),
            "{error}"
        );
    }
}

#[test]
fn a_table_of_weights_may_be_json() {
    let texts = list();
    let folder = fixture("tiny-inference-free");
    let config = br#"{"path":"idf.json"}"#;
    let changes = [
        (
            "query_0_SparseStaticEmbedding/config.json",
            Some(config.as_slice()),
        ),
        ("query_0_SparseStaticEmbedding/model.safetensors", None),
    ];
    let by_json = load_with(&folder, WeightDtype::F32, &changes, 1000).unwrap();
    let by_tensor = load(&folder, WeightDtype::F32);
    let query = task("query");
    assert_eq!(
        by_json.encode_sparse(inputs(&texts), &query).unwrap(),
        by_tensor.encode_sparse(inputs(&texts), &query).unwrap()
    );
}
