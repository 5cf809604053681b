//! The router of the wire formats natively: `tests/js/cases/formats.mjs` has every field and error,
//! over the same code.

use std::collections::BTreeMap;

use crate::common::{fixture, load};
use gossamer::api::http::{Exchange, Incoming, Options, Refusal, Request, Response, admit};
use gossamer::{Cpu, Embedder, WeightDtype};
use serde_json::{Value, json};

fn ask(embedder: &Embedder<Cpu>, method: &str, path: &str, body: &impl ToString) -> Response {
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: BTreeMap::new(),
        body: body.to_string().into_bytes(),
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
            body: json!({ "input": "a" }).to_string().into_bytes(),
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

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: headers.iter().map(own).collect(),
        body: body.as_bytes().to_vec(),
    }
}

#[test]
fn the_head_decides_before_the_body_is_read() {
    let options = Options {
        api_keys: vec!["a key".to_owned()],
        max_body_bytes: Some(1000),
        ..Options::default()
    };
    let key = ("authorization", "Bearer a key");
    let told = |method, path, headers: &[(&str, &str)]| {
        admit(&request(method, path, headers, ""), &options).map(|answer| answer.status)
    };
    let embeddings = "/v1/embeddings";
    for (method, path, headers, status) in [
        ("POST", embeddings, &[][..], Some(401)),
        (
            "POST",
            embeddings,
            &[("authorization", "Bearer ")],
            Some(401),
        ),
        ("POST", embeddings, &[key], None),
        // One right key is enough.
        (
            "POST",
            "/embed_sparse",
            &[
                ("authorization", "Bearer other"),
                ("x-chroma-token", "a key"),
            ],
            None,
        ),
        ("POST", embeddings, &[key, ("content-length", "1000")], None),
        (
            "POST",
            embeddings,
            &[key, ("content-length", "1001")],
            Some(413),
        ),
        (
            "POST",
            embeddings,
            &[key, ("content-encoding", "gzip")],
            Some(415),
        ),
        (
            "POST",
            embeddings,
            &[key, ("content-encoding", "identity")],
            None,
        ),
        ("GET", embeddings, &[], Some(405)),
        ("POST", "/nothing", &[], Some(404)),
        ("GET", "/health", &[], Some(200)),
        ("HEAD", "/health", &[], Some(200)),
        ("GET", "/ping", &[], Some(200)),
        ("GET", "/", &[], Some(200)),
        ("GET", "/metrics", &[], Some(401)),
        ("HEAD", "/metrics", &[key], Some(200)),
        ("GET", "/info", &[], Some(401)),
        ("HEAD", "/info", &[key], None),
        ("HEAD", embeddings, &[key], Some(405)),
    ] {
        assert_eq!(
            told(method, path, headers),
            status,
            "{method} {path} {headers:?}"
        );
    }
    // An empty key lets nobody in, wherever it may come from.
    let open = Options {
        api_keys: vec![String::new()],
        ..Options::default()
    };
    for header in ["Bearer ", "Bearer", "x", ""] {
        let asked = request("POST", embeddings, &[("authorization", header)], "");
        assert_eq!(admit(&asked, &open).unwrap().status, 401);
    }
    let answer = admit(&request("POST", embeddings, &[], ""), &options).unwrap();
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    let busy = |refuse, path| {
        let options = Options {
            refuse: Some(refuse),
            ..Options::default()
        };
        let method = if path == "/health" { "GET" } else { "POST" };
        admit(&request(method, path, &[], ""), &options).unwrap()
    };
    for (refusal, status) in [(Refusal::Overloaded, 429), (Refusal::Unavailable, 503)] {
        let answer = busy(refusal, embeddings);
        assert_eq!(
            (answer.status, answer.headers["retry-after"].as_str()),
            (status, "1")
        );
        assert_eq!(busy(refusal, "/health").status, 200);
    }
    assert_eq!(busy(Refusal::Incomplete, embeddings).status, 400);
}

#[test]
fn a_path_names_its_methods_and_the_server_its_limits() {
    let options = Options {
        max_body_bytes: Some(1000),
        max_requests: Some(7),
        ..Options::default()
    };
    let embeddings = "/v1/embeddings";
    let large = [("content-length", "1001")];
    let refused = admit(&request("POST", embeddings, &large, ""), &options).unwrap();
    assert!(refused.body.contains("at most 1000 bytes"), "{refused:?}");
    for (path, allow) in [
        ("/ready", "GET"),
        ("/health", "GET"),
        ("/", "GET, POST"),
        (embeddings, "POST"),
        ("/embed_sparse", "POST"),
    ] {
        let refused = admit(&request("OPTIONS", path, &[], ""), &options).unwrap();
        let allowed = refused.headers["allow"].as_str();
        assert_eq!((refused.status, allowed), (405, allow), "{path}");
    }
    for (under_way, status) in [(6, 200), (7, 503)] {
        let options = Options {
            under_way,
            ..options.clone()
        };
        let answer = admit(&request("GET", "/ready", &[], ""), &options).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (status, ""));
    }
}

#[test]
fn the_body_tells_the_formats_of_a_path_apart() {
    let sparse = load(&fixture("tiny-splade"), WeightDtype::Q8);
    let dense = load(&fixture("tiny-bert"), WeightDtype::Q8);
    let json = |response: Response| -> Value { serde_json::from_str(&response.body).unwrap() };
    let chroma = [("x-chroma-embedding-model", "any")];
    let post = |embedder, path, headers: &[(&str, &str)], body: &Value| {
        let request = request("POST", path, headers, &body.to_string());
        answer(embedder, request, &Options::default())
    };
    let texts = json!({ "texts": ["a cat"], "instructions": "" });
    let inputs = json!({ "inputs": ["a cat"] });
    let vectors = json(post(&dense, "/embed", &[], &inputs));
    assert_eq!(json(post(&dense, "/", &[], &inputs)), vectors);
    assert_eq!(json(post(&dense, "/", &chroma, &inputs)), vectors);
    let answered = json(post(&dense, "/", &chroma, &texts));
    assert_eq!(answered["embeddings"], vectors);
    let entries = json(post(&sparse, "/embed_sparse", &[], &inputs));
    assert_eq!(json(post(&sparse, "/", &[], &inputs)), entries);
    let pair = json!({ "inputs": { "source_sentence": "a cat", "sentences": ["a cat", "a dog"] } });
    assert_eq!(
        json(post(&dense, "/", &[], &pair)),
        json(post(&dense, "/similarity", &[], &pair))
    );
    for (path, body, model, kind) in [
        (
            "/v1/embeddings",
            json!({ "model": "m" }),
            Some("m"),
            Some("dense"),
        ),
        (
            "/v1/embeddings",
            json!({ "model": "null" }),
            None,
            Some("dense"),
        ),
        (
            "/embed_sparse",
            json!({ "model": null }),
            None,
            Some("sparse"),
        ),
        ("/embed_all", json!({}), None, Some("tokens")),
        ("/", inputs.clone(), None, None),
        (
            "/ml/v1alpha/embedding:embed",
            json!({ "model": { "model": "" } }),
            None,
            Some("dense"),
        ),
        (
            "/ml/v1alpha/embedding:embed",
            json!({ "model": { "model": "m" } }),
            Some("m"),
            Some("dense"),
        ),
    ] {
        let incoming = Incoming::from(request("POST", path, &[], &body.to_string()));
        assert_eq!(
            (incoming.model(), incoming.kind()),
            (model, kind),
            "{path} {body}"
        );
    }
}

#[test]
fn token_ids_need_the_models_own_special_tokens() {
    let embedder = load(&fixture("tiny-bert"), WeightDtype::Q8);
    let ids = |text: &str, special| -> Vec<u32> {
        let tokens = embedder.tokenize(text, special).unwrap();
        tokens.iter().map(|token| token.id).collect()
    };
    let post = |path: &str, body: &Value| ask(&embedder, "POST", path, body);
    let text = post("/v1/embeddings", &json!({ "input": "a cat" })).body;
    let own = post("/v1/embeddings", &json!({ "input": [ids("a cat", true)] }));
    assert_eq!((own.status, own.body), (200, text));
    let half = [&ids("a cat", true)[..1], &ids("a cat", false)].concat();
    for (foreign, word) in [
        (ids("a cat", false), "[CLS] … [SEP]"),
        (half, "[CLS] … [SEP]"),
        (vec![15339, 1917], "not in the vocabulary"),
    ] {
        for (path, field, status) in [
            ("/v1/embeddings", "input", 400),
            ("/embed", "inputs", 422),
            ("/embed_all", "inputs", 422),
            ("/", "inputs", 422),
        ] {
            let response = post(path, &json!({ field: [foreign] }));
            assert_eq!(response.status, status, "{path}: {}", response.body);
            for part in [word, "check_embedding_ctx_length=False"] {
                assert!(response.body.contains(part), "{}", response.body);
            }
        }
    }
}

#[test]
fn what_would_take_too_long_or_too_much_is_refused_beforehand() {
    let embedder = load(&fixture("tiny-bert"), WeightDtype::Q8);
    let post = |path: &str, body: &Value| ask(&embedder, "POST", path, body);
    // 2,048 texts of 32 tokens of 48 numbers each.
    let many = json!({ "inputs": vec!["a cat ".repeat(15); 2048] });
    let response = post("/embed_all", &many);
    assert_eq!(response.status, 413, "{}", response.body);
    assert!(
        response.body.contains("48 numbers each"),
        "{}",
        response.body
    );
    let some = json!({ "inputs": vec!["a cat ".repeat(15); 1000] });
    assert_eq!(post("/embed_all", &some).status, 200);
    let long = json!({ "inputs": "é".repeat(3201) });
    let response = post("/embed", &long);
    assert_eq!(response.status, 422);
    assert!(
        response
            .body
            .contains("3201 characters, of which at most 3200 are read"),
        "{}",
        response.body
    );
}
