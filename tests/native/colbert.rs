//! Late interaction: each layout of files against the library that owns it
//! (`tests/fixtures/colbert_files.py`), and what is refused.

use std::path::Path;

use candle_core::Tensor;
use gossamer::{
    Cpu, Embedder, EncodeOptions, Input, Kind, LoadOptions, MultiOptions, OutputDtype,
    ScoreOptions, SparseOptions, TokenHead, TokenOptions, TokenVectors, WeightDtype,
};
use serde_json::{Value, json};

use crate::common::saved::{open, saved};
use crate::common::{
    cosine, fixture, inputs, load, load_as, load_with, read, reference, rows, texts,
};

const MODELS: [&str; 7] = [
    "stanford",
    "stanford-flash",
    "pylate",
    "pylate-residual",
    "pylate-attended",
    "multi-vector",
    "multi-vector-min",
];
const TASKS: [&str; 2] = ["query", "document"];

fn folder(name: &str) -> std::path::PathBuf {
    fixture("colbert").join(name)
}

fn of_task(task: &str) -> TokenOptions {
    TokenOptions {
        task: Some(task.to_owned()),
        ..TokenOptions::default()
    }
}

fn encode(embedder: &Embedder<Cpu>, options: &TokenOptions) -> Vec<TokenVectors> {
    let output = embedder.encode_tokens(inputs(&texts("tiny-texts.json")), options);
    output.unwrap().token_vectors.unwrap()
}

/// The rows of each text.
fn parts(tensors: &std::collections::HashMap<String, Tensor>, name: &str) -> Vec<Vec<Vec<f32>>> {
    let all = rows(&tensors[name]);
    let ends: Vec<i32> = tensors[&format!("{name}_offsets")].to_vec1().unwrap();
    let range = |pair: &[i32]| usize::try_from(pair[0]).unwrap()..usize::try_from(pair[1]).unwrap();
    ends.windows(2)
        .map(|pair| all[range(pair)].to_vec())
        .collect()
}

/// Compares the rows of each text; in any order if they are groups, which libraries number
/// differently.
#[track_caller]
fn assert_rows(what: &str, ours: &[TokenVectors], theirs: &[Vec<Vec<f32>>], ordered: bool) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for ((ours, theirs), (name, _)) in ours.iter().zip(theirs).zip(texts("tiny-texts.json")) {
        assert_eq!(
            ours.rows(),
            theirs.len(),
            "{what}, {name}: number of vectors"
        );
        for (at, ours) in ours.data.chunks_exact(ours.dimensions).enumerate() {
            let is_equal = |theirs: &Vec<f32>| {
                let largest = theirs.iter().zip(ours).map(|(a, b)| (a - b).abs());
                cosine(ours, theirs) >= 0.99999 && largest.fold(0.0, f32::max) <= 1e-4
            };
            let found = if ordered {
                is_equal(&theirs[at])
            } else {
                theirs.iter().any(is_equal)
            };
            assert!(found, "{what}, {name}: vector {at} is {ours:?}");
        }
    }
}

#[test]
fn each_layout_gives_the_vectors_and_scores_of_its_library() {
    for name in MODELS {
        let embedder = load(&folder(name), WeightDtype::F32);
        assert_eq!(embedder.kind(), "late-interaction", "{name}");
        assert_eq!(embedder.outputs(), ["tokens", "colbert"], "{name}");
        assert_eq!(embedder.tasks(), TASKS, "{name}");
        let theirs = reference(&folder(name).join("reference.safetensors"));
        let [queries, documents] = TASKS.map(|task| {
            let ours = encode(&embedder, &of_task(task));
            assert_eq!(ours[0].dimensions, embedder.dimensions(), "{name}");
            assert_rows(
                &format!("{name}, {task}"),
                &ours,
                &parts(&theirs, task),
                true,
            );
            ours
        });
        let means = embedder.info().similarity == "meanmaxsim";
        assert_eq!(means, name == "multi-vector-min");
        for (query, theirs) in queries.iter().zip(rows(&theirs["scores"])) {
            let ours = embedder.max_sim(query, &documents).unwrap();
            for (ours, theirs) in ours.iter().zip(&theirs) {
                // Vectors of multi-vector-min are not normalised; a query has at most 22.
                let largest = theirs.abs().max(1.0);
                assert!(
                    (ours - theirs).abs() <= 1e-4 * largest,
                    "{name}: {ours} {theirs}"
                );
            }
        }
    }
}

#[test]
fn documents_are_pooled_as_by_the_libraries() {
    for name in MODELS
        .into_iter()
        .filter(|name| *name != "multi-vector-min")
    {
        let embedder = load(&folder(name), WeightDtype::F32);
        let theirs = reference(&folder(name).join("reference.safetensors"));
        let pooled = |factor| TokenOptions {
            pool_factor: Some(factor),
            ..of_task("document")
        };
        for factor in [2, 3] {
            let what = format!("{name}, pooled by {factor}");
            let ours = encode(&embedder, &pooled(factor));
            assert_rows(
                &what,
                &ours,
                &parts(&theirs, &format!("pooled{factor}")),
                false,
            );
            let firsts = ours.iter().zip(parts(&theirs, "document"));
            for (ours, theirs) in firsts {
                assert!(
                    cosine(&ours.data[..ours.dimensions], &theirs[0]) >= 0.99999,
                    "{what}"
                );
            }
        }
        assert_eq!(
            encode(&embedder, &pooled(1)),
            encode(&embedder, &of_task("document"))
        );
        let one = encode(&embedder, &pooled(1000));
        assert!(one.iter().all(|vectors| vectors.rows() <= 2), "{name}");
    }
}

#[test]
fn a_text_has_the_same_bits_alone_and_among_others() {
    for name in MODELS {
        let embedder = load(&folder(name), WeightDtype::Q8);
        for task in TASKS {
            let all = encode(&embedder, &of_task(task));
            for ((_, text), all) in texts("tiny-texts.json").iter().zip(all) {
                let alone = embedder.encode_tokens(vec![text.as_str().into()], &of_task(task));
                assert_eq!(
                    alone.unwrap().token_vectors.unwrap(),
                    [all],
                    "{name}: {text}"
                );
            }
        }
    }
}

#[test]
fn eight_bits_keep_the_ranking() {
    for name in MODELS {
        let [exact, coarse] =
            [WeightDtype::F32, WeightDtype::Q8].map(|dtype| load(&folder(name), dtype));
        let scores = |embedder: &Embedder<Cpu>| -> Vec<Vec<f32>> {
            let documents = encode(embedder, &of_task("document"));
            let queries = encode(embedder, &of_task("query"));
            let scores = queries
                .iter()
                .map(|query| embedder.max_sim(query, &documents).unwrap());
            scores.collect()
        };
        let (ours, theirs) = (scores(&coarse), scores(&exact));
        let mut agreeing = [0, 0];
        for (ours, theirs) in ours.iter().zip(&theirs) {
            for i in 0..ours.len() {
                for j in 0..i {
                    let same = (ours[i] > ours[j]) == (theirs[i] > theirs[j]);
                    agreeing[usize::from(same)] += 1;
                }
            }
        }
        let [other, same] = agreeing.map(f64::from);
        let tau = (same - other) / (same + other);
        // Random weights have no margins; trained ones differ less.
        assert!(tau >= 0.95, "{name}: {tau}");
    }
}

#[test]
fn vectors_in_8_bits_are_close_and_their_products_exact() {
    let embedder = load(&folder("stanford"), WeightDtype::F32);
    let int8 = |task| TokenOptions {
        output: OutputDtype::Int8,
        ..of_task(task)
    };
    let [queries, documents] = TASKS.map(|task| encode(&embedder, &int8(task)));
    let floats = TASKS.map(|task| encode(&embedder, &of_task(task)));
    for (query, exact) in queries.iter().zip(&floats[0]) {
        assert!(query.data.is_empty() && query.rows() == exact.rows());
        let ours = embedder.max_sim(query, &documents).unwrap();
        let theirs = embedder.max_sim(exact, &floats[1]).unwrap();
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert!((ours - theirs).abs() <= 0.05, "{ours} {theirs}");
        }
        let mixed = embedder.max_sim(query, &floats[1]).unwrap_err();
        assert!(mixed.to_string().contains("8 bits"), "{mixed}");
    }
    // By the definition, in another order.
    let codes = |vectors: &TokenVectors| -> Vec<(Vec<i32>, f32)> {
        let quantized = vectors.quantized.as_ref().unwrap();
        let rows = quantized.codes.chunks_exact(vectors.dimensions);
        let row = |row: &[u8]| {
            row.iter()
                .map(|code| i32::from(code.cast_signed()))
                .collect()
        };
        rows.map(row)
            .zip(quantized.scales.iter().copied())
            .collect()
    };
    #[expect(clippy::cast_precision_loss, reason = "as the kernel rounds it")]
    for (query, document) in queries.iter().zip(&documents) {
        let mut score = 0.0;
        for (row, factor) in codes(query) {
            let products = codes(document).into_iter().map(|(other, scale)| {
                let sum: i32 = row.iter().zip(&other).rev().map(|(a, b)| a * b).sum();
                sum as f32 * scale
            });
            score += products.fold(f32::NEG_INFINITY, f32::max) * factor;
        }
        assert_eq!(query.max_sim(document).unwrap().to_bits(), score.to_bits());
    }
}

#[test]
fn a_score_is_the_sum_of_sequential_products() {
    for (queries, rows, width) in [(1, 1, 1), (3, 5, 7), (5, 8, 16), (9, 17, 33), (32, 30, 128)] {
        let number = |at: usize| {
            let hash = u16::try_from((at * 2_654_435_761) % 1009).unwrap();
            f32::from(hash) / 504.5 - 1.0
        };
        let vectors = |rows: usize, seed: usize| TokenVectors {
            data: (0..rows * width).map(|at| number(at + seed)).collect(),
            quantized: None,
            dimensions: width,
        };
        let (query, document) = (vectors(queries, 1), vectors(rows, 7));
        let mut score = 0.0f32;
        for row in query.data.chunks_exact(width) {
            let products = document.data.chunks_exact(width).map(|other| {
                row.iter()
                    .zip(other)
                    .fold(0.0f32, |sum, (a, b)| sum + a * b)
            });
            score += products.fold(f32::NEG_INFINITY, f32::max);
        }
        assert_eq!(query.max_sim(&document).unwrap().to_bits(), score.to_bits());
    }
    let none = TokenVectors {
        dimensions: 4,
        ..TokenVectors::default()
    };
    assert_eq!(none.max_sim(&none).unwrap().to_bits(), 0);
    let some = |x: f32, dimensions| TokenVectors {
        data: vec![x; 4],
        quantized: None,
        dimensions,
    };
    for (query, document) in [
        (some(1.0, 4), some(1.0, 2)),
        (some(f32::NAN, 4), some(1.0, 4)),
    ] {
        assert_eq!(
            query.max_sim(&document).unwrap_err().code(),
            "invalid_input"
        );
    }
}

#[test]
fn documents_are_ranked_for_a_query() {
    for name in ["stanford", "multi-vector", "multi-vector-min"] {
        let embedder = load(&folder(name), WeightDtype::F32);
        let documents: Vec<String> = texts("tiny-texts.json")
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        let query = "where do the birds sing?";
        let ranked = embedder
            .rerank(query, documents.clone(), None, &ScoreOptions::default())
            .unwrap();
        let vectors = embedder
            .encode_tokens(vec![query.into()], &of_task("query"))
            .unwrap();
        let vectors = vectors.token_vectors.unwrap();
        let scores = embedder
            .max_sim(&vectors[0], &encode(&embedder, &of_task("document")))
            .unwrap();
        assert_eq!(ranked.len(), scores.len(), "{name}");
        for one in &ranked {
            assert_eq!(one.score.to_bits(), scores[one.index].to_bits(), "{name}");
        }
        assert!(ranked.is_sorted_by(|a, b| a.score >= b.score), "{name}");
        let best = embedder
            .rerank(query, documents, Some(2), &ScoreOptions::default())
            .unwrap();
        assert_eq!(best, ranked[..2], "{name}");
        assert!(
            embedder
                .rerank(query, Vec::new(), None, &ScoreOptions::default())
                .unwrap()
                .is_empty()
        );
        let empty = embedder.rerank(" ", vec!["a".to_owned()], None, &ScoreOptions::default());
        assert_eq!(empty.unwrap_err().code(), "empty_input");
    }
}

#[test]
fn saved_models_give_the_same_bits() {
    for name in MODELS {
        let embedder = load(&folder(name), WeightDtype::Q8);
        let again = open(&saved(&embedder, None, 1000), None).unwrap();
        assert_eq!(again.space_id(), embedder.space_id(), "{name}");
        for task in TASKS {
            assert_eq!(
                encode(&again, &of_task(task)),
                encode(&embedder, &of_task(task)),
                "{name}"
            );
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn other_calls_say_what_the_model_is_for() {
    let embedder = load(&folder("pylate"), WeightDtype::F32);
    let list = || vec![Input::from("a cat")];
    let errors = [
        embedder
            .encode(list(), &EncodeOptions::default())
            .map(|_| ())
            .unwrap_err(),
        embedder
            .encode_sparse(list(), &SparseOptions::default())
            .map(|_| ())
            .unwrap_err(),
        embedder
            .encode_multi(
                list(),
                &MultiOptions {
                    dense: true,
                    ..MultiOptions::default()
                },
            )
            .map(|_| ())
            .unwrap_err(),
        embedder
            .score(
                vec![Input::Pair("a".to_owned(), "b".to_owned())],
                &ScoreOptions::default(),
            )
            .map(|_| ())
            .unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.code(), "wrong_model_kind");
        let message = error.to_string();
        assert!(
            message.contains("late-interaction") && message.contains("encodeTokens"),
            "{message}"
        );
    }
    let message = |options: TokenOptions| {
        let error = embedder.encode_tokens(list(), &options).unwrap_err();
        assert_eq!(error.code(), "invalid_input");
        error.to_string()
    };
    assert!(message(TokenOptions::default()).contains("task \"query\" or \"document\""));
    assert!(message(of_task("passage")).contains("query, document"));
    let pooled = |pool_factor, task| TokenOptions {
        pool_factor: Some(pool_factor),
        ..of_task(task)
    };
    assert!(message(pooled(0, "document")).contains("poolFactor is 0"));
    assert!(message(pooled(2, "query")).contains("for documents"));
    let states = TokenOptions {
        head: Some(TokenHead::States),
        ..pooled(2, "document")
    };
    assert!(message(states).contains("cosines"));
    let bits = TokenOptions {
        output: OutputDtype::Binary,
        ..of_task("document")
    };
    assert!(message(bits).contains("\"int8\""));
    let long = TokenOptions {
        truncate: Some(false),
        ..of_task("query")
    };
    let error = embedder
        .encode_tokens(vec!["a ".repeat(40).as_str().into()], &long)
        .unwrap_err();
    assert!(error.to_string().contains("16"), "{error}");
    // The states of the encoder are there, with all tokens.
    let states = TokenOptions {
        head: Some(TokenHead::States),
        ..of_task("document")
    };
    let states = embedder
        .encode_tokens(list(), &states)
        .unwrap()
        .token_vectors
        .unwrap();
    assert_eq!(states[0].dimensions, 48);
    // One pass gives what encode_tokens gives.
    let multi = MultiOptions {
        tokens: true,
        task: Some("query".to_owned()),
        ..MultiOptions::default()
    };
    let multi = embedder.encode_multi(list(), &multi).unwrap().token_vectors;
    assert_eq!(
        multi,
        embedder
            .encode_tokens(list(), &of_task("query"))
            .unwrap()
            .token_vectors
    );
    // Ids are those of the tokenizer; the marker is put among them, too.
    let tokens = embedder.tokenize("a cat", true).unwrap();
    let ids = vec![Input::Ids(tokens.iter().map(|token| token.id).collect())];
    let ids = embedder
        .encode_tokens(ids, &of_task("query"))
        .unwrap()
        .token_vectors;
    assert_eq!(
        ids,
        embedder
            .encode_tokens(list(), &of_task("query"))
            .unwrap()
            .token_vectors
    );
}

/// A file with some fields set to others; null takes a field away.
fn with(folder: &Path, name: &str, fields: &Value) -> Vec<u8> {
    let mut file: Value = serde_json::from_slice(&read(folder, name).unwrap()).unwrap();
    for (field, value) in fields.as_object().unwrap() {
        file[field] = value.clone();
    }
    file.to_string().into_bytes()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn files_that_say_what_is_not_implemented_are_refused_by_name() {
    let refused = |model: &str, name: &str, fields: Value, code: &str, part: &str| {
        let folder = folder(model);
        let file = with(&folder, name, &fields);
        let error = load_with(&folder, WeightDtype::F32, &[(name, Some(&file))], 1000);
        let error = error
            .err()
            .unwrap_or_else(|| panic!("{model}: {fields} loads"));
        assert!(
            error.to_string().contains(part),
            "{model}: {fields}: {error}"
        );
        assert_eq!(error.code(), code, "{model}: {fields}: {error}");
    };
    let metadata = |fields, part| {
        refused(
            "stanford",
            "artifact.metadata",
            fields,
            "invalid_config",
            part,
        );
    };
    metadata(
        json!({"query_token_id": "[unused9]"}),
        "query_token_id is \"[unused9]\"",
    );
    metadata(json!({"doc_token_id": "[Q]"}), "vocabulary lacks");
    metadata(json!({"similarity": "l2"}), "similarity is \"l2\"");
    metadata(json!({"interaction": "flipr"}), "interaction");
    metadata(json!({"query_maxlen": 65}), "65");
    metadata(json!({"query_maxlen": 0}), "query_maxlen is 0");
    metadata(json!({"doc_maxlen": 3}), "no room");
    metadata(json!({"mask_punctuation": "yes"}), "mask_punctuation");
    refused(
        "stanford",
        "artifact.metadata",
        json!({"dim": 32}),
        "wrong_shape",
        "linear.weight",
    );
    let folder = self::folder("stanford");
    let missing = load_with(
        &folder,
        WeightDtype::F32,
        &[("artifact.metadata", None)],
        1000,
    );
    assert!(
        missing
            .err()
            .unwrap()
            .to_string()
            .contains("artifact.metadata: is not there")
    );
    let settings = "config_sentence_transformers.json";
    let pylate = |fields, code, part| refused("pylate", settings, fields, code, part);
    pylate(
        json!({"query_prefix": "[Query]"}),
        "invalid_config",
        "query_prefix is \"[Query]\"",
    );
    pylate(
        json!({"query_length": "32"}),
        "invalid_config",
        "query_length",
    );
    pylate(
        json!({"query_length": 40}),
        "unsupported_model",
        "attend to nothing",
    );
    pylate(
        json!({"skiplist_words": [1]}),
        "invalid_config",
        "skiplist_words",
    );
    let modules =
        json!([{"path": "", "type": "sentence_transformers.models.Transformer"}]).to_string();
    let pylate_folder = self::folder("pylate");
    let bare = [("modules.json", Some(modules.as_bytes()))];
    let error = load_with(&pylate_folder, WeightDtype::F32, &bare, 1000)
        .err()
        .unwrap();
    assert!(error.to_string().contains("no Dense module"), "{error}");
    let transformer = |fields, part| {
        refused(
            "multi-vector",
            "sentence_bert_config.json",
            fields,
            "invalid_config",
            part,
        );
    };
    transformer(json!({"query_expansion": {"strategy": "fixed"}}), "length");
    transformer(
        json!({"query_expansion": {"strategy": "max", "length": 9}}),
        "strategy is \"max\"",
    );
    transformer(
        json!({"query_expansion": {"strategy": "fixed", "length": 9, "token": "[unused7]"}}),
        "token is \"[unused7]\"",
    );
    transformer(json!({"query_length": 5}), "query_length is 5");
    transformer(
        json!({"processing_kwargs": {"text": {"max_length": 9}}}),
        "max_length",
    );
    let mask = json!({"keep_only_token_ids": [7]});
    refused(
        "multi-vector",
        "2_MultiVectorMask/config.json",
        mask,
        "invalid_config",
        "keep_only_token_ids",
    );
    let prefix = json!({"query_prefix": "[Q] "});
    refused(
        "multi-vector",
        settings,
        prefix,
        "invalid_config",
        "query_prefix",
    );
    let mut modules: Value =
        serde_json::from_slice(&read(&self::folder("multi-vector"), "modules.json").unwrap())
            .unwrap();
    modules.as_array_mut().unwrap().push(json!({
        "path": "4_Pool",
        "type": "sentence_transformers.multi_vector_encoder.modules.token_pooling.HierarchicalTokenPooling",
    }));
    let modules = modules.to_string();
    let changes = [
        ("modules.json", Some(modules.as_bytes())),
        ("4_Pool/config.json", Some(&b"{}"[..])),
    ];
    let error = load_with(
        &self::folder("multi-vector"),
        WeightDtype::F32,
        &changes,
        1000,
    )
    .err()
    .unwrap();
    assert!(
        error.to_string().contains("HierarchicalTokenPooling"),
        "{error}"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn options_of_loading_fit_late_interaction_or_are_refused() {
    let load =
        |name: &str, options: LoadOptions| load_as(Cpu::new(), &folder(name), options, &[], 1000);
    let usual = || LoadOptions {
        dtype: Some(WeightDtype::F32),
        saveable: true,
        ..LoadOptions::default()
    };
    for name in ["stanford", "pylate", "multi-vector"] {
        let plain = load(name, usual()).unwrap();
        let longer = load(
            name,
            LoadOptions {
                max_tokens: Some(50),
                ..usual()
            },
        )
        .unwrap();
        assert_eq!(longer.info().max_tokens, 50, "{name}");
        assert_ne!(longer.space_id(), plain.space_id());
        let overridden = &longer.info().overridden;
        assert!(
            overridden.iter().any(|(option, _)| *option == "maxTokens"),
            "{name}: {overridden:?}"
        );
        let rows = |embedder: &Embedder<Cpu>, task| -> Vec<usize> {
            encode(embedder, &of_task(task))
                .iter()
                .map(TokenVectors::rows)
                .collect()
        };
        assert!(
            rows(&longer, "document").iter().sum::<usize>() > rows(&plain, "document").iter().sum()
        );
        assert_eq!(rows(&longer, "query"), rows(&plain, "query"), "{name}");
        let again = open(&saved(&longer, None, 1000), usual().dtype).unwrap();
        assert_eq!(again.space_id(), longer.space_id());
        for (options, part) in [
            (
                LoadOptions {
                    max_tokens: Some(65),
                    ..usual()
                },
                "at most 64",
            ),
            (
                LoadOptions {
                    max_tokens: Some(2),
                    ..usual()
                },
                "no room",
            ),
            (
                LoadOptions {
                    normalize: Some(true),
                    ..usual()
                },
                "normalize is stated",
            ),
            (
                LoadOptions {
                    pooling: Some(vec![gossamer::Pooling::Mean]),
                    ..usual()
                },
                "pooling is stated",
            ),
            (
                LoadOptions {
                    kind: Some(Kind::Reranker),
                    ..usual()
                },
                "make it late-interaction",
            ),
        ] {
            let error = load(name, options)
                .err()
                .unwrap_or_else(|| panic!("{name}: {part}"));
            assert!(error.to_string().contains(part), "{name}: {error}");
        }
        let insisted = load(
            name,
            LoadOptions {
                kind: Some(Kind::LateInteraction),
                ..usual()
            },
        )
        .unwrap();
        assert_eq!(insisted.space_id(), plain.space_id());
        // The encoder as it is, without the projection.
        let dense = load(
            name,
            LoadOptions {
                kind: Some(Kind::Dense),
                ..usual()
            },
        )
        .unwrap();
        assert_eq!((dense.kind(), dense.dimensions()), ("dense", 48), "{name}");
        assert!(!dense.info().left_out.is_empty(), "{name}");
    }
    let error = load_as(
        Cpu::new(),
        &fixture("tiny-bert"),
        LoadOptions {
            kind: Some(Kind::LateInteraction),
            ..usual()
        },
        &[],
        1000,
    );
    assert!(error.err().unwrap().to_string().contains("make it dense"));
}

#[test]
fn onnx_files_of_late_interaction_models_are_refused_by_name() {
    let bytes = std::fs::read(fixture("onnx/tiny-bert.optimum.onnx")).unwrap();
    let folder = folder("stanford");
    let changes = [
        ("model.safetensors", None),
        ("onnx/model.onnx", Some(bytes.as_slice())),
    ];
    let error = load_with(&folder, WeightDtype::F32, &changes, 1000)
        .err()
        .unwrap();
    assert_eq!(error.code(), "unsupported_model");
    assert!(
        error.to_string().contains("late-interaction models"),
        "{error}"
    );
}

#[test]
fn routes_for_reranking_and_token_vectors_answer_for_late_interaction() {
    let embedder = load(&folder("stanford"), WeightDtype::F32);
    let documents = ["a cat", "dogs walk, birds sing", "The river at night."];
    let query = "where do the birds sing?";
    let expected = embedder
        .rerank(
            query,
            documents.map(str::to_owned).to_vec(),
            None,
            &ScoreOptions::default(),
        )
        .unwrap();
    let post = |path: &str, body: Value| crate::rerank_formats::post(&embedder, path, &[], &body);
    let best = |answer: &Value, index: &str, score: &str| {
        let (index, score) = (
            answer[index].as_u64().unwrap(),
            answer[score].as_f64().unwrap(),
        );
        assert_eq!(usize::try_from(index).unwrap(), expected[0].index);
        assert!((score - f64::from(expected[0].score)).abs() < 1e-5);
    };
    let (status, tei) = post("/rerank", json!({"query": query, "texts": documents}));
    assert_eq!(status, 200, "{tei}");
    best(&tei[0], "index", "score");
    let (status, cohere) = post(
        "/v2/rerank",
        json!({"model": "x", "query": query, "documents": documents}),
    );
    assert_eq!(status, 200, "{cohere}");
    best(&cohere["results"][0], "index", "relevance_score");
    let (status, all) = post(
        "/embed_all",
        json!({"inputs": query, "prompt_name": "query"}),
    );
    assert_eq!((status, all[0].as_array().unwrap().len()), (200, 14));
    for body in [
        json!({"inputs": query}),
        json!({"inputs": query, "prompt_name": "passage"}),
    ] {
        assert_eq!(post("/embed_all", body).0, 422);
    }
    assert_eq!(post("/embed", json!({"inputs": query})).0, 424);
}
