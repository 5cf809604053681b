//! The router of the wire formats natively: `tests/js/cases/formats.mjs` has every field and error, over the same code.

mod common;

use std::collections::BTreeMap;

use common::{fixture, load};
use gossamer::api::http::{Exchange, Options, Request, Response};
use gossamer::{Cpu, Embedder, WeightDtype};
use serde_json::{Value, json};

fn ask(embedder: &Embedder<Cpu>, method: &str, path: &str, body: &impl ToString) -> Response {
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: BTreeMap::new(),
        body: body.to_string(),
    };
    let mut exchange = Exchange::start(embedder, &request, &Options::default());
    while !exchange.step_with(embedder, &mut []) {}
    exchange.finish()
}

#[test]
fn every_route_answers_and_nothing_panics() {
    let embedder = load(&fixture("tiny-bert"), WeightDtype::Q8);
    for (method, path, body) in [
        ("POST", "/v1/embeddings", json!({ "input": "a cat" })),
        ("POST", "/embeddings", json!({ "input": ["a", "b"] })),
        ("POST", "/embed", json!({ "inputs": "a" })),
        ("POST", "/embed_all", json!({ "inputs": "a" })),
        ("POST", "/tokenize", json!({ "inputs": "a" })),
        ("POST", "/decode", json!({ "ids": [5, 6] })),
        ("GET", "/info", json!({})),
        ("GET", "/health", json!({})),
        ("GET", "/v1/models", json!({})),
    ] {
        assert_eq!(ask(&embedder, method, path, &body).status, 200, "{path}");
    }
    let bodies = [
        json!(null),
        json!(7),
        json!([]),
        json!({}),
        json!({ "input": {}, "inputs": {}, "texts": {}, "ids": {} }),
        json!({ "input": [[]], "inputs": [[]], "texts": [[]], "ids": [[]] }),
        json!({ "input": [null], "inputs": [null], "texts": [null], "ids": [-1] }),
        json!({ "texts": ["a"], "task": 7, "target": [] }),
    ];
    for path in [
        "/v1/embeddings",
        "/embed",
        "/embed_sparse",
        "/embed_all",
        "/similarity",
        "/tokenize",
        "/decode",
        "/",
        "/ml/v1alpha/embedding:embed",
        "/nothing",
    ] {
        for body in &bodies {
            let response = ask(&embedder, "POST", path, body);
            assert!((400..500).contains(&response.status), "{path} {body}");
            let answer: Value = serde_json::from_str(&response.body).unwrap();
            assert!(answer.is_object(), "{path} {body}");
        }
    }
}
