//! Against sentence-transformers: the real MiniLM, and tiny random models for every pooling mode,
//! Dense modules, prompts, truncation, half precision and SPLADE. tests/fixtures/README.md says how
//! the references were made.

use crate::common::{
    assert_close, assert_sparse, cosine, fixture, inputs, load, load_with, minilm, reference, rows,
    texts,
};
use gossamer::{Cpu, DenseBatch, Embedder, EncodeOptions, Input, SparseOptions, WeightDtype};

#[track_caller]
fn assert_equal(what: &str, texts: &[(String, String)], ours: &DenseBatch, theirs: &[Vec<f32>]) {
    assert_eq!(ours.tokens.len(), theirs.len());
    let ours = ours.data.chunks_exact(ours.dimensions);
    assert_close(what, texts, ours, theirs);
}

fn encode(
    embedder: &Embedder<Cpu>,
    texts: &[(String, String)],
    options: &EncodeOptions,
) -> DenseBatch {
    embedder.encode(inputs(texts), options).unwrap()
}

fn query() -> EncodeOptions {
    EncodeOptions {
        prompt_name: Some("query".to_owned()),
        ..EncodeOptions::default()
    }
}

#[test]
fn minilm_f32_equals_sentence_transformers() {
    let texts = texts("texts.json");
    assert!(texts.len() >= 100);
    let reference = reference(&fixture("minilm.safetensors"));
    let ours = encode(
        &load(&minilm(), WeightDtype::F32),
        &texts,
        &EncodeOptions::default(),
    );
    assert_equal("f32", &texts, &ours, &rows(&reference["embeddings"]));

    let offsets: Vec<i32> = reference["offsets"].to_vec1().unwrap();
    let counts: Vec<u32> = offsets
        .windows(2)
        .map(|pair| u32::try_from(pair[1] - pair[0]).unwrap())
        .collect();
    assert_eq!(ours.tokens, counts);
    for ((name, _), (tokens, truncated)) in
        texts.iter().zip(ours.tokens.iter().zip(&ours.truncated))
    {
        assert!(
            !truncated || *tokens == 256,
            "{name} is cut off at {tokens} tokens"
        );
    }
    assert!(ours.truncated.contains(&true));
}

#[test]
fn minilm_q8_stays_close() {
    // Every third text: native q8 runs the scalar kernel. All texts run in the package's tests.
    let all = texts("texts.json");
    let reference = rows(&reference(&fixture("minilm.safetensors"))["embeddings"]);
    let (texts, reference): (Vec<_>, Vec<_>) = all.into_iter().zip(reference).step_by(3).unzip();
    let ours = encode(
        &load(&minilm(), WeightDtype::Q8),
        &texts,
        &EncodeOptions::default(),
    );
    for ((ours, theirs), (name, _)) in ours.data.chunks_exact(384).zip(&reference).zip(&texts) {
        let cosine = cosine(ours, theirs);
        assert!(cosine >= 0.999, "{name}: {cosine}");
    }
}

#[test]
fn token_ids_are_those_of_the_reference() {
    let texts = texts("texts.json");
    let reference = reference(&fixture("minilm.safetensors"));
    let ids: Vec<i32> = reference["ids"].to_vec1().unwrap();
    let offsets: Vec<i32> = reference["offsets"].to_vec1().unwrap();
    // Ids as input must give what the texts give, bit for bit: only equal ids can.
    let slices = offsets
        .windows(2)
        .map(|pair| &ids[usize::try_from(pair[0]).unwrap()..usize::try_from(pair[1]).unwrap()]);
    let by_ids =
        slices.map(|ids| Input::Ids(ids.iter().map(|id| u32::try_from(*id).unwrap()).collect()));
    let embedder = load(&minilm(), WeightDtype::F32);
    let by_ids = embedder
        .encode(by_ids.collect(), &EncodeOptions::default())
        .unwrap();
    assert_eq!(
        by_ids.data,
        encode(&embedder, &texts, &EncodeOptions::default()).data
    );
}

#[test]
fn a_text_has_the_same_bits_alone_in_a_batch_and_in_any_order() {
    let texts: Vec<_> = texts("texts.json").into_iter().step_by(5).collect();
    let mut reversed = texts.clone();
    reversed.reverse();
    for dtype in [WeightDtype::F32, WeightDtype::Q8] {
        let embedder = load(&minilm(), dtype);
        let options = EncodeOptions::default();
        let forward = encode(&embedder, &texts, &options);
        let backward = encode(&embedder, &reversed, &options);
        let backward: Vec<_> = backward.data.chunks_exact(384).rev().collect();
        for (i, (vector, text)) in forward.data.chunks_exact(384).zip(&texts).enumerate() {
            assert_eq!(vector, backward[i], "{dtype:?} {}", text.0);
            let alone = encode(&embedder, std::slice::from_ref(text), &options);
            assert_eq!(vector, alone.data, "{dtype:?} {}", text.0);
        }
    }
}

#[test]
fn tiny_bert_overrides_baked_in_truncation_and_applies_prompts() {
    let texts = texts("tiny-texts.json");
    let embedder = load(&fixture("tiny-bert"), WeightDtype::F32);
    let reference = reference(&fixture("tiny-bert/reference.safetensors"));
    let plain = encode(&embedder, &texts, &EncodeOptions::default());
    assert_equal("plain", &texts, &plain, &rows(&reference["embeddings"]));
    assert_eq!(plain.tokens.iter().max(), Some(&32));
    let with_prompt = encode(&embedder, &texts, &query());
    assert_equal(
        "query",
        &texts,
        &with_prompt,
        &rows(&reference["query_embeddings"]),
    );
    let spelt_out = EncodeOptions {
        prompt: Some("query: ".to_owned()),
        ..EncodeOptions::default()
    };
    assert_eq!(encode(&embedder, &texts, &spelt_out), with_prompt);
}

#[test]
fn every_pooling_mode_equals_the_reference() {
    let texts = texts("tiny-texts.json");
    let folder = fixture("tiny-bert");
    let reference = reference(&folder.join("reference.safetensors"));
    let modules = std::fs::read(folder.join("pooling/modules.json")).unwrap();
    let variants = [
        "cls",
        "max",
        "mean_sqrt_len_tokens",
        "lasttoken",
        "weightedmean",
        "cls_mean",
        "cls_mean_legacy",
        "mean_cls",
        "mean_without_prompt",
    ];
    for variant in variants {
        let pooling = std::fs::read(folder.join(format!("pooling/{variant}.json"))).unwrap();
        let changes = [
            ("modules.json", Some(modules.as_slice())),
            ("1_Pooling/config.json", Some(pooling.as_slice())),
        ];
        let embedder = load_with(&folder, WeightDtype::F32, &changes, 1000).unwrap();
        let options = if variant == "mean_without_prompt" {
            query()
        } else {
            EncodeOptions::default()
        };
        assert_equal(
            variant,
            &texts,
            &encode(&embedder, &texts, &options),
            &rows(&reference[variant]),
        );
    }
}

#[test]
fn dense_modules_prefixes_half_precision_and_new_spellings_work() {
    let texts = texts("tiny-texts.json");
    let folder = fixture("tiny-dense");
    let embedder = load(&folder, WeightDtype::F32);
    let theirs = rows(&reference(&folder.join("reference.safetensors"))["embeddings"]);
    assert_equal(
        "dense",
        &texts,
        &encode(&embedder, &texts, &EncodeOptions::default()),
        &theirs,
    );
    assert_eq!(
        (embedder.dimensions(), embedder.info().max_tokens),
        (24, 40)
    );
}

#[test]
fn xlm_roberta_counts_positions_from_after_the_padding_id() {
    let texts = texts("tiny-texts.json");
    let folder = fixture("tiny-xlm-roberta");
    let reference = reference(&folder.join("reference.safetensors"));
    let embedder = load(&folder, WeightDtype::F32);
    let ours = encode(&embedder, &texts, &EncodeOptions::default());
    assert_equal(
        "xlm-roberta",
        &texts,
        &ours,
        &rows(&reference["embeddings"]),
    );
    assert_eq!(
        (embedder.info().family, embedder.info().max_tokens),
        ("roberta", 40)
    );
    // Without a limit of its own the model takes what there are positions for: 42 rows less the two
    // before the first.
    let unlimited = load_with(
        &folder,
        WeightDtype::F32,
        &[("sentence_bert_config.json", None)],
        4096,
    )
    .unwrap();
    assert_eq!(unlimited.info().max_tokens, 40);
    assert_eq!(
        encode(&unlimited, &texts, &EncodeOptions::default()).data,
        ours.data
    );
}

#[test]
fn dimensions_cut_and_renormalise() {
    let texts = texts("tiny-texts.json");
    let embedder = load(&fixture("tiny-bert"), WeightDtype::F32);
    let raw = encode(
        &embedder,
        &texts,
        &EncodeOptions {
            normalize: Some(false),
            ..EncodeOptions::default()
        },
    );
    let short = encode(
        &embedder,
        &texts,
        &EncodeOptions {
            dimensions: Some(10),
            ..EncodeOptions::default()
        },
    );
    assert_eq!(short.data.len(), texts.len() * 10);
    for (short, raw) in short.data.chunks_exact(10).zip(raw.data.chunks_exact(48)) {
        assert!(
            (cosine(short, short) - 1.0).abs() < 1e-12 && cosine(short, &raw[..10]) > 0.999_999_9
        );
        let length: f32 = short.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-6);
    }
}

#[test]
fn truncation_from_the_left_keeps_the_end() {
    let embedder = load(&fixture("tiny-bert"), WeightDtype::F32);
    let text = |text: &str| vec![Input::from(text)];
    let words = "cat dog bird ".repeat(20);
    let kept = "cat dog bird ".repeat(10);
    let left = EncodeOptions {
        truncation_direction: gossamer::text::Direction::Left,
        ..EncodeOptions::default()
    };
    let cut = embedder
        .encode(text(&format!("first query {words}")), &left)
        .unwrap();
    assert_eq!(cut.truncated, [true]);
    assert_eq!(
        cut.data,
        embedder
            .encode(text(&kept), &EncodeOptions::default())
            .unwrap()
            .data
    );
}

#[test]
fn splade_equals_the_reference() {
    let texts = texts("tiny-texts.json");
    for name in ["tiny-splade", "tiny-distilbert-splade"] {
        let folder = fixture(name);
        let theirs = rows(&reference(&folder.join("reference.safetensors"))["embeddings"]);
        let sparse = |dtype| {
            let embedder = load_with(&folder, dtype, &[], 777).unwrap();
            let batch = embedder.encode_sparse(inputs(&texts), &SparseOptions::default());
            batch.unwrap().vectors
        };
        assert_sparse(name, &texts, &sparse(WeightDtype::F32), &theirs);
        let ours = sparse(WeightDtype::Q8);
        let mut mean = 0.0;
        for (ours, (theirs, (text, _))) in ours.iter().zip(theirs.iter().zip(&texts)) {
            let mut dense = vec![0.0; theirs.len()];
            for (index, value) in ours.indices.iter().zip(&ours.values) {
                dense[*index as usize] = *value;
            }
            let cosine = cosine(&dense, theirs);
            assert!(cosine >= 0.995, "q8 {name} {text}: {cosine}");
            mean += cosine;
        }
        #[expect(clippy::cast_precision_loss, reason = "few texts")]
        let mean = mean / texts.len() as f64;
        assert!(mean >= 0.998, "q8 {name}: {mean}");
    }
}

#[test]
fn any_chunking_of_the_weights_gives_the_same_model() {
    let folder = fixture("tiny-dense");
    let texts = texts("tiny-texts.json");
    let models = [1, 3, 63, 4096, 1 << 20]
        .map(|chunk| load_with(&folder, WeightDtype::Q8, &[], chunk).unwrap());
    let [first, others @ ..] = &models;
    for other in others {
        assert_eq!(other.space_id(), first.space_id());
        let options = EncodeOptions::default();
        assert_eq!(
            encode(other, &texts, &options),
            encode(first, &texts, &options)
        );
    }
}

#[test]
fn the_space_id_tells_models_apart() {
    let folder = fixture("tiny-bert");
    let modules = std::fs::read(folder.join("pooling/modules.json")).unwrap();
    let tokenizer = std::fs::read_to_string(folder.join("tokenizer.json")).unwrap();
    let cased = tokenizer.replace(r#""lowercase":true"#, r#""lowercase":false"#);
    assert_ne!(cased, tokenizer);
    let cased = [("tokenizer.json", Some(cased.as_bytes()))];
    let ids = [
        load_with(&folder, WeightDtype::F32, &cased, 4096)
            .unwrap()
            .space_id(),
        load(&folder, WeightDtype::F32).space_id(),
        load(&folder, WeightDtype::Q8).space_id(),
        load(&fixture("tiny-dense"), WeightDtype::F32).space_id(),
        load_with(
            &folder,
            WeightDtype::F32,
            &[("modules.json", Some(&modules))],
            4096,
        )
        .unwrap()
        .space_id(),
    ];
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    assert_eq!(ids[1], load(&folder, WeightDtype::F32).space_id());
}
