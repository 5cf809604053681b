//! The routes that rank documents, against the scores that the embedder gives itself:
//! text-embeddings-inference's `/rerank` and `/predict`, Cohere's and Jina's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::common::{fixture, load};
use gossamer::api::http::{Exchange, Incoming, Options, Request, Response};
use gossamer::{Cpu, Embedder, Input, ScoreActivation, ScoreOptions, WeightDtype};
use serde_json::{Value, json};

const QUERY: &str = "what does a cat eat";
const DOCUMENTS: [&str; 4] = ["a dog sat", "a cat eats a mouse", "", "night ships sail"];
const COHERE: [(&str, &str); 1] = [("x-fern-sdk-name", "cohere")];

fn reranker(name: &str) -> Embedder<Cpu> {
    let folder: PathBuf = fixture("rerankers").join(name);
    load(&folder, WeightDtype::F32)
}

pub fn post(
    embedder: &Embedder<Cpu>,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> (u16, Value) {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let request = Request {
        method: "POST".to_owned(),
        path: path.to_owned(),
        headers: headers.iter().map(own).collect(),
        body: body.to_string().into_bytes(),
    };
    let mut exchange = Exchange::start(embedder, request.into(), &Options::default());
    while !exchange.step_with(embedder, &mut []) {}
    let Response { status, body, .. } = exchange.finish();
    (status, serde_json::from_str(&body).unwrap())
}

/// The scores of the documents, with their indices, the best first.
fn expected(embedder: &Embedder<Cpu>, activation: ScoreActivation) -> Vec<(usize, f64)> {
    let pair = |document: &str| Input::Pair(QUERY.to_owned(), document.to_owned());
    let pairs = DOCUMENTS.iter().map(|document| pair(document)).collect();
    let options = ScoreOptions {
        activation: Some(activation),
        ..ScoreOptions::default()
    };
    let scores = embedder.score(pairs, &options).unwrap().scores;
    let mut ranked: Vec<(usize, f64)> = scores.into_iter().map(f64::from).enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked
}

#[track_caller]
fn assert_ranked(results: &Value, score: &str, expected: &[(usize, f64)]) {
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), expected.len());
    for (result, (index, value)) in results.iter().zip(expected) {
        assert_eq!(result["index"], json!(index));
        let found = result[score].as_f64().unwrap();
        assert!((found - value).abs() < 1e-6, "{found} for {value}");
    }
}

#[test]
fn text_embeddings_inference_ranks_texts() {
    let embedder = reranker("bert");
    let ranked = expected(&embedder, ScoreActivation::Sigmoid);
    let body = json!({ "query": QUERY, "texts": DOCUMENTS });
    for path in ["/rerank", "/"] {
        let (status, answer) = post(&embedder, path, &[], &body);
        assert_eq!(status, 200, "{answer}");
        assert_ranked(&answer, "score", &ranked);
        assert!(answer[0].get("text").is_none());
    }
    let more = json!({
        "query": QUERY, "texts": DOCUMENTS, "raw_scores": true, "return_text": true,
        "truncate": true, "truncation_direction": "Left", "model": "any",
    });
    let (_, answer) = post(&embedder, "/rerank", &[], &more);
    let logits = expected(&embedder, ScoreActivation::Identity);
    assert_ranked(&answer, "score", &logits);
    for rank in answer.as_array().unwrap() {
        let index = rank["index"].as_u64().unwrap();
        assert_eq!(rank["text"], DOCUMENTS[usize::try_from(index).unwrap()]);
    }
}

#[test]
fn text_embeddings_inference_predicts_labels() {
    let one = reranker("bert");
    let several = reranker("bert-labels");
    let count = several.labels().len();
    assert!(count > 1);
    let ask = |embedder, inputs: Value| {
        let (status, answer) = post(embedder, "/predict", &[], &json!({ "inputs": inputs }));
        assert_eq!(status, 200, "{answer}");
        answer
    };
    // One text, one pair: a list of labels. Several: a list of these.
    let pair = ask(&several, json!([QUERY, DOCUMENTS[1]]));
    assert_eq!(pair.as_array().unwrap().len(), count);
    let all = ask(
        &several,
        json!([[QUERY, DOCUMENTS[1]], ["a dog"], [QUERY, ""]]),
    );
    assert_eq!(all.as_array().unwrap().len(), 3);
    assert_eq!(all[0], pair);
    assert_eq!(all[1], ask(&several, json!("a dog")));
    assert_eq!(all[1], ask(&several, json!(["a dog"])));
    let scores: Vec<f64> = pair
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["score"].as_f64().unwrap())
        .collect();
    assert!(scores.is_sorted_by(|a, b| a >= b));
    assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-5, "softmax");
    for prediction in pair.as_array().unwrap() {
        let label = prediction["label"].as_str().unwrap();
        assert!(several.labels().iter().any(|name| name == label));
    }
    // The same scores as those of `/rerank`, and at the root too.
    let (index, score) = expected(&one, ScoreActivation::Sigmoid)[0];
    let single = ask(&one, json!([QUERY, DOCUMENTS[index]]));
    assert!((single[0]["score"].as_f64().unwrap() - score).abs() < 1e-6);
    let body = json!({ "inputs": [QUERY, DOCUMENTS[index]] });
    assert_eq!(post(&one, "/", &[], &body).1, single);
}

#[test]
fn cohere_ranks_documents() {
    let embedder = reranker("bert");
    let ranked = expected(&embedder, ScoreActivation::Sigmoid);
    let body = json!({ "model": "any", "query": QUERY, "documents": DOCUMENTS });
    let (status, answer) = post(&embedder, "/v2/rerank", &[], &body);
    assert_eq!(status, 200, "{answer}");
    assert_ranked(&answer["results"], "relevance_score", &ranked);
    assert!(answer["results"][0].get("document").is_none());
    assert_eq!(answer["id"].as_str().unwrap().len(), 36);
    assert_eq!(answer["meta"]["api_version"]["version"], "2");
    assert!(answer["meta"]["tokens"]["input_tokens"].as_u64().unwrap() > 20);
    for (top, count) in [(1, 1), (3, 3), (100, 4)] {
        let body = json!({ "query": QUERY, "documents": DOCUMENTS, "top_n": top });
        let (_, answer) = post(&embedder, "/v2/rerank", &[], &body);
        assert_ranked(&answer["results"], "relevance_score", &ranked[..count]);
    }
    let body = json!({ "query": QUERY, "documents": DOCUMENTS, "return_documents": true });
    let (_, answer) = post(&embedder, "/v2/rerank", &[], &body);
    let best = DOCUMENTS[ranked[0].0];
    assert_eq!(answer["results"][0]["document"]["text"], best);
    // Version 1 takes objects, and returns texts.
    let documents = DOCUMENTS.map(|text| json!({ "text": text, "title": "a title" }));
    let body = json!({ "query": QUERY, "documents": documents, "max_chunks_per_doc": 10 });
    let (_, answer) = post(&embedder, "/v1/rerank", &[], &body);
    assert_ranked(&answer["results"], "relevance_score", &ranked);
    assert!(answer["results"][0].get("document").is_none());
    assert_eq!(answer["meta"]["api_version"]["version"], "1");
    let body = json!({ "query": QUERY, "documents": DOCUMENTS, "return_documents": true, "rank_fields": ["text"] });
    let (_, answer) = post(&embedder, "/v1/rerank", &COHERE, &body);
    assert_eq!(
        answer["results"][0]["document"]["text"],
        DOCUMENTS[ranked[0].0]
    );
}

#[test]
fn documents_are_truncated_to_max_tokens_per_doc() {
    let embedder = reranker("bert");
    let score = |document: &str, most: Option<u32>| {
        let body = json!({ "query": QUERY, "documents": [document], "max_tokens_per_doc": most });
        let (status, answer) = post(&embedder, "/v2/rerank", &[], &body);
        assert_eq!(status, 200, "{answer}");
        answer["results"][0]["relevance_score"].clone()
    };
    let long = "a cat eats a mouse and a dog sat on the mat";
    let tokens = embedder.tokenize(long, false).unwrap();
    for most in [1, 3, 5] {
        let end = tokens[most - 1].stop.unwrap();
        let most = u32::try_from(most).unwrap();
        assert_eq!(score(long, Some(most)), score(&long[..end], None), "{most}");
    }
    assert_eq!(score(long, Some(1000)), score(long, None));
    assert_ne!(score(long, Some(1)), score(long, None));
    // Characters of several bytes are not divided.
    score("é日本語 naïve 😀😀", Some(2));
}

#[test]
fn jina_ranks_documents() {
    let embedder = reranker("bert");
    let ranked = expected(&embedder, ScoreActivation::Sigmoid);
    let body = json!({ "model": "a-name", "query": QUERY, "documents": DOCUMENTS, "top_n": 3 });
    for path in ["/v1/rerank", "/rerank"] {
        let (status, answer) = post(&embedder, path, &[], &body);
        assert_eq!(status, 200, "{answer}");
        assert_ranked(&answer["results"], "relevance_score", &ranked[..3]);
        for result in answer["results"].as_array().unwrap() {
            let index = result["index"].as_u64().unwrap();
            let text = DOCUMENTS[usize::try_from(index).unwrap()];
            assert_eq!(result["document"]["text"], text);
        }
        assert_eq!(answer["model"], "a-name");
        assert!(answer["usage"]["total_tokens"].as_u64().unwrap() > 20);
    }
    let documents = DOCUMENTS.map(|text| json!({ "text": text }));
    let body = json!({ "query": QUERY, "documents": documents, "return_documents": false });
    let (_, answer) = post(&embedder, "/v1/rerank", &[], &body);
    assert_ranked(&answer["results"], "relevance_score", &ranked);
    assert!(answer["results"][0].get("document").is_none());
    let body = json!({ "query": QUERY, "documents": [] });
    let (status, answer) = post(&embedder, "/v1/rerank", &[], &body);
    assert_eq!((status, &answer["results"]), (200, &json!([])));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a case for each field")]
fn each_api_reports_bad_requests_in_its_own_way() {
    let embedder = reranker("bert");
    let dense = load(&fixture("tiny-bert"), WeightDtype::Q8);
    let many = vec!["a"; 2049];
    let cases = [
        ("query", json!({ "query": "", "documents": ["a"] }), "query"),
        (
            "query",
            json!({ "query": "  ", "documents": ["a"] }),
            "query",
        ),
        ("query", json!({ "documents": ["a"] }), "query is missing"),
        (
            "query",
            json!({ "query": 7, "documents": ["a"] }),
            "the number 7",
        ),
        (
            "documents",
            json!({ "query": "a", "documents": ["a", 7] }),
            "documents[1] is the number 7",
        ),
        (
            "documents",
            json!({ "query": "a", "documents": ["a", null] }),
            "documents[1] is missing or null",
        ),
        (
            "documents",
            json!({ "query": "a", "documents": [{ "title": "a" }] }),
            "documents[0] is an object",
        ),
        (
            "documents",
            json!({ "query": "a", "documents": "a" }),
            "documents is a string",
        ),
        ("documents", json!({ "query": "a" }), "documents is missing"),
        (
            "too many",
            json!({ "query": "a", "documents": many }),
            "2049 inputs",
        ),
        (
            "top_n",
            json!({ "query": "a", "documents": ["a"], "top_n": 0 }),
            "top_n is 0",
        ),
        (
            "top_n",
            json!({ "query": "a", "documents": ["a"], "top_n": -1 }),
            "top_n is the number -1",
        ),
        (
            "top_n",
            json!({ "query": "a", "documents": ["a"], "top_n": 1.5 }),
            "top_n is the number 1.5",
        ),
    ];
    for (_, body, part) in &cases {
        for (path, headers, status, field) in [
            ("/v2/rerank", &[][..], 400, "message"),
            ("/v1/rerank", &COHERE, 400, "message"),
            ("/v1/rerank", &[], 422, "detail"),
        ] {
            let (found, answer) = post(&embedder, path, headers, body);
            assert_eq!(found, status, "{path} {answer}");
            let message = answer[field].as_str().unwrap();
            assert!(message.contains(part), "{path}: {message}");
        }
    }
    for (path, body, status, part) in [
        (
            "/v2/rerank",
            json!({ "query": "a", "documents": ["a"], "rank_fields": ["title"] }),
            400,
            "title",
        ),
        (
            "/v2/rerank",
            json!({ "query": "a", "documents": [] }),
            400,
            "empty list",
        ),
        (
            "/v2/rerank",
            json!({ "query": "a", "documents": ["a"], "max_tokens_per_doc": 0 }),
            400,
            "max_tokens_per_doc is 0",
        ),
        (
            "/v1/rerank",
            json!({ "query": "a", "documents": ["a"], "rank_fields": ["title"] }),
            400,
            "title",
        ),
        (
            "/v1/rerank",
            json!({ "query": "a", "documents": ["a"], "max_chunks_per_doc": 0 }),
            400,
            "max_chunks_per_doc",
        ),
        (
            "/v1/rerank",
            json!({ "query": "a", "documents": ["a"], "return_embeddings": true }),
            422,
            "return_embeddings",
        ),
        (
            "/v1/rerank",
            json!({ "query": "a", "documents": [{ "text": "a", "id": 1 }] }),
            422,
            "documents[0] has fields",
        ),
        (
            "/rerank",
            json!({ "query": "", "texts": ["a"] }),
            400,
            "query",
        ),
        (
            "/rerank",
            json!({ "query": "a", "texts": [] }),
            400,
            "texts is an empty list",
        ),
        (
            "/rerank",
            json!({ "query": "a", "texts": ["a", 5] }),
            422,
            "texts[1] is the number 5",
        ),
        (
            "/rerank",
            json!({ "query": "a", "texts": many }),
            413,
            "2049 inputs",
        ),
        (
            "/rerank",
            json!({ "query": "a", "texts": ["night ".repeat(300)] }),
            422,
            "tokens",
        ),
        (
            "/rerank",
            json!({ "texts": ["a"] }),
            422,
            "query is missing",
        ),
        ("/predict", json!({ "inputs": [] }), 400, "empty list"),
        ("/predict", json!({ "inputs": "" }), 400, "empty"),
        (
            "/predict",
            json!({ "inputs": ["a", "b", "c"] }),
            422,
            "no pair",
        ),
        (
            "/predict",
            json!({ "inputs": [["a", "b", "c"]] }),
            422,
            "inputs[0] has 3 texts",
        ),
        (
            "/predict",
            json!({ "inputs": [["a"], "b"] }),
            422,
            "inputs[1]",
        ),
        (
            "/predict",
            json!({ "inputs": [["a"], []] }),
            422,
            "inputs[1]",
        ),
        (
            "/predict",
            json!({ "inputs": [1, 2] }),
            422,
            "neither a text nor a pair",
        ),
        (
            "/predict",
            json!({ "inputs": { "a": 1 } }),
            422,
            "neither a text nor a pair",
        ),
        (
            "/predict",
            json!({ "inputs": vec![["a"]; 2049] }),
            413,
            "2049 inputs",
        ),
        ("/embed", json!({ "inputs": "a" }), 424, "reranker"),
    ] {
        let (found, answer) = post(&embedder, path, &[], &body);
        assert_eq!(found, status, "{path} {answer}");
        assert!(answer.to_string().contains(part), "{path}: {answer}");
    }
    // A model with several labels ranks nothing; one without labels scores nothing.
    let body = json!({ "query": "a", "documents": ["a"], "texts": ["a"], "inputs": "a" });
    let labels = reranker("bert-labels");
    for (path, status) in [("/v2/rerank", 400), ("/v1/rerank", 422), ("/rerank", 422)] {
        assert_eq!(post(&labels, path, &[], &body).0, status, "{path}");
    }
    for (path, status) in [
        ("/v2/rerank", 400),
        ("/v1/rerank", 422),
        ("/rerank", 424),
        ("/predict", 424),
    ] {
        let (found, answer) = post(&dense, path, &[], &body);
        assert_eq!(found, status, "{path} {answer}");
        assert!(answer.to_string().contains("dense model"), "{answer}");
    }
    // It goes on working.
    let body = json!({ "query": QUERY, "documents": DOCUMENTS });
    assert_eq!(post(&embedder, "/v2/rerank", &[], &body).0, 200);
}

#[test]
fn a_request_to_rank_needs_a_reranker() {
    let kind = |path: &str| {
        let request = Request {
            method: "POST".to_owned(),
            path: path.to_owned(),
            headers: BTreeMap::new(),
            body: json!({ "query": "a", "texts": ["a"], "model": "m" })
                .to_string()
                .into_bytes(),
        };
        let incoming = Incoming::from(request);
        (incoming.model().map(str::to_owned), incoming.kind())
    };
    for path in ["/rerank", "/predict", "/v1/rerank", "/v2/rerank"] {
        assert_eq!(kind(path), (Some("m".to_owned()), Some("scores")), "{path}");
    }
}
