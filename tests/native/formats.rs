//! The router of the wire formats natively: `tests/js/cases/formats.mjs` has every field and error, over the same code.

use std::collections::BTreeMap;

use crate::common::{fixture, load};
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
    answer(embedder, request, &Options::default())
}

fn answer(embedder: &Embedder<Cpu>, request: Request, options: &Options) -> Response {
    let mut exchange = Exchange::start(embedder, request.into(), options);
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

#[test]
fn pages_of_other_origins_may_ask_if_they_are_let() {
    let embedder = load(&fixture("tiny-bert"), WeightDtype::Q8);
    let ask = |cors: &[&str], method: &str, headers: &[(&str, &str)]| {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let request = Request {
            method: method.to_owned(),
            path: "/v1/embeddings".to_owned(),
            headers: headers.iter().map(own).collect(),
            body: json!({ "input": "a" }).to_string(),
        };
        let cors = cors.iter().map(|&origin| origin.to_owned()).collect();
        let options = Options {
            cors,
            api_keys: vec!["a key".to_owned()],
            ..Options::default()
        };
        answer(&embedder, request, &options)
    };
    let page = ("origin", "https://page.example");
    let preflight = [
        page,
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type",
        ),
    ];
    let key = ("authorization", "Bearer a key");
    for cors in [
        &["*"][..],
        &["https://other.example", "https://page.example"],
    ] {
        // A preflight has no key.
        let response = ask(cors, "OPTIONS", &preflight);
        assert_eq!((response.status, response.body.as_str()), (204, ""));
        let header = |name| response.headers[name].as_str();
        assert_eq!(header("access-control-allow-origin"), page.1);
        assert_eq!(header("access-control-allow-headers"), preflight[2].1);
        assert!(header("access-control-allow-methods").contains("POST"));
        for (headers, status) in [(&[page, key][..], 200), (&[page], 401)] {
            let response = ask(cors, "POST", headers);
            assert_eq!(response.status, status);
            assert_eq!(response.headers["access-control-allow-origin"], page.1);
            assert_eq!(response.headers["vary"], "origin");
        }
    }
    for cors in [&[][..], &["https://other.example"]] {
        let response = ask(cors, "OPTIONS", &preflight);
        assert_eq!(response.status, 405);
        let response = ask(cors, "POST", &[page, key]);
        assert_eq!(response.status, 200);
        assert!(!response.headers.contains_key("access-control-allow-origin"));
    }
}
