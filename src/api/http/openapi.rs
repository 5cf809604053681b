//! The `OpenAPI` 3.1 document, made of the very types that read requests and write answers. It is checked in, so that no
//! build carries what makes it.

use std::borrow::Cow;

use schemars::generate::{Contract, SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::problem::{ChromaBody, OpenAiBody, RpcStatus, TeiBody};
use crate::api::{chroma, inworld, openai, schema, tei};
use crate::text::Token;

/// Statuses of each format's errors.
const OPENAI_ERRORS: &[u16] = &[400, 401, 404, 405, 408, 413, 415, 429, 500, 503];
const TEI_ERRORS: &[u16] = &[400, 401, 404, 405, 408, 413, 415, 422, 424, 429, 503];
const CHROMA_ERRORS: &[u16] = &[400, 401, 404, 405, 408, 413, 415, 429, 500, 501, 503];
const INWORLD_ERRORS: &[u16] = &[400, 401, 404, 405, 413, 415, 429, 500, 501, 503, 504];

/// A format's errors: its name, their statuses and their body.
type Errors = (Cow<'static, str>, &'static [u16], Schema);

/// A route in the making.
struct Operation {
    path: &'static str,
    method: &'static str,
    id: &'static str,
    summary: &'static str,
    requests: Vec<Schema>,
    answers: Vec<Schema>,
    errors: Vec<Errors>,
    /// Whether the header that names Chroma's model is needed; `None`: it is not looked at.
    model_header: Option<bool>,
}

/// Makes schemas: what is read may leave fields out, what is written never does.
struct Document {
    reads: SchemaGenerator,
    writes: SchemaGenerator,
    paths: Map<String, Value>,
    responses: Map<String, Value>,
}

impl Document {
    fn new() -> Self {
        let generator = |contract| {
            let settings = SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.contract = contract;
                settings.meta_schema = None;
            });
            SchemaGenerator::new(settings)
        };
        Self {
            reads: generator(Contract::Deserialize),
            writes: generator(Contract::Serialize),
            paths: Map::new(),
            responses: Map::new(),
        }
    }

    fn read<T: JsonSchema>(&mut self) -> Vec<Schema> {
        vec![self.reads.subschema_for::<T>()]
    }

    fn write<T: JsonSchema>(&mut self) -> Vec<Schema> {
        vec![self.writes.subschema_for::<T>()]
    }

    fn errors<T: JsonSchema>(&mut self, statuses: &'static [u16]) -> Vec<Errors> {
        vec![(T::schema_name(), statuses, self.writes.subschema_for::<T>())]
    }

    fn add(&mut self, operation: Operation) {
        let Operation {
            path,
            method,
            id,
            summary,
            requests,
            answers,
            errors,
            model_header,
        } = operation;
        let mut responses = Map::new();
        let mut ok = json!({ "description": "The answer" });
        if id == "metrics" {
            ok["content"] = json!({ "text/plain": { "schema": { "type": "string" } } });
        }
        if !answers.is_empty() {
            ok["content"] = content(&any(&answers));
        }
        responses.insert("200".to_owned(), ok);
        for status in errors.iter().flat_map(|(_, statuses, _)| *statuses) {
            let told = errors
                .iter()
                .filter(|(_, statuses, _)| statuses.contains(status));
            let (names, bodies): (Vec<&str>, Vec<Schema>) = told
                .map(|(name, _, body)| (name.as_ref(), body.clone()))
                .unzip();
            let name = format!("{}{status}", names.join("Or"));
            let reference = json!({ "$ref": format!("#/components/responses/{name}") });
            responses.insert(status.to_string(), reference);
            let response =
                json!({ "description": describe(*status), "content": content(&any(&bodies)) });
            self.responses.insert(name, response);
        }
        let mut entry = json!({ "operationId": id, "summary": summary, "responses": responses });
        if !requests.is_empty() {
            entry["requestBody"] = json!({ "required": true, "content": content(&any(&requests)) });
        }
        if path.ends_with("{id}") {
            entry["parameters"] = json!([{
                "name": "id",
                "in": "path",
                "required": true,
                "schema": { "type": "string" },
            }]);
        }
        if let Some(required) = model_header {
            entry["parameters"] = json!([{
                "name": super::MODEL_HEADER,
                "in": "header",
                "required": required,
                "schema": { "type": "string" },
                "description": "The model that answers; clients of Chroma send it.",
            }]);
        }
        if ["health", "ping", "root"].contains(&id) {
            entry["security"] = json!([]);
        }
        let methods = self.paths.entry(path).or_insert_with(|| json!({}));
        methods[method] = entry;
    }

    fn finish(mut self) -> Value {
        let mut schemas = self.reads.take_definitions(true);
        for (name, schema) in self.writes.take_definitions(true) {
            let before = schemas.insert(name.clone(), schema);
            assert!(before.is_none(), "two types are called {name}");
        }
        let scheme = |scheme: &str| json!({ "type": "http", "scheme": scheme });
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Gossamer",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Dense and sparse text embeddings in the formats of five APIs.",
                "license": { "name": "MIT OR Apache-2.0" },
            },
            "paths": self.paths,
            "components": {
                "schemas": schemas,
                "responses": self.responses,
                "securitySchemes": {
                    "bearer": scheme("bearer"),
                    "basic": scheme("basic"),
                    "chroma": { "type": "apiKey", "in": "header", "name": "x-chroma-token" },
                },
            },
            // A server without keys asks for none.
            "security": [{}, { "bearer": [] }, { "basic": [] }, { "chroma": [] }],
        })
    }
}

fn content(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn any(schemas: &[Schema]) -> Value {
    match schemas {
        [only] => only.clone().to_value(),
        several => json!({ "anyOf": several }),
    }
}

fn describe(status: u16) -> &'static str {
    match status {
        400 => "The request makes no sense; the message says why",
        401 => "The API key is missing or wrong",
        404 => "There is no such model",
        405 => "The path takes another method",
        408 | 504 => "The request took too long",
        413 => "The body is too large, has too many inputs, or the answer would be too large",
        415 => "The body is compressed",
        422 => "The request makes no sense to the model: a text is too long, say",
        424 | 501 => "The model does not give vectors of this kind",
        429 => "Too many requests wait already",
        503 => "The model cannot be loaded now",
        _ => "The answer could not be computed",
    }
}

fn route(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation {
        path,
        method: "post",
        id,
        summary,
        requests: Vec::new(),
        answers: Vec::new(),
        errors: Vec::new(),
        model_header: None,
    }
}

fn openai_routes(doc: &mut Document) {
    let summary = "Dense vectors, as OpenAI and SambaNova give them";
    for (path, id) in [
        ("/v1/embeddings", "createEmbedding"),
        ("/embeddings", "createEmbeddingShort"),
    ] {
        let operation = Operation {
            requests: doc.read::<schema::CreateEmbeddingRequest>(),
            answers: doc.write::<openai::Response>(),
            // By the server's dialect.
            errors: [
                doc.errors::<OpenAiBody>(OPENAI_ERRORS),
                doc.errors::<TeiBody>(TEI_ERRORS),
            ]
            .concat(),
            ..route(path, id, summary)
        };
        doc.add(operation);
    }
    let models = Operation {
        method: "get",
        answers: doc.write::<openai::Models>(),
        errors: doc.errors::<OpenAiBody>(OPENAI_ERRORS),
        ..route("/v1/models", "listModels", "The models of this server")
    };
    doc.add(models);
    let model = Operation {
        method: "get",
        answers: doc.write::<openai::Model>(),
        errors: doc.errors::<OpenAiBody>(OPENAI_ERRORS),
        ..route("/v1/models/{id}", "retrieveModel", "One of them")
    };
    doc.add(model);
}

/// The paths that two formats share.
fn shared_routes(doc: &mut Document) {
    let errors = [
        doc.errors::<TeiBody>(TEI_ERRORS),
        doc.errors::<ChromaBody>(CHROMA_ERRORS),
    ]
    .concat();
    let dense = Operation {
        requests: [
            doc.read::<schema::EmbedDenseRequest>(),
            doc.read::<schema::ChromaRequest>(),
        ]
        .concat(),
        answers: [
            doc.write::<Vec<Vec<f32>>>(),
            doc.write::<chroma::Response<Vec<f32>>>(),
        ]
        .concat(),
        errors: errors.clone(),
        model_header: Some(false),
        ..route(
            "/embed",
            "embed",
            "Dense vectors, as text-embeddings-inference and Chroma give them",
        )
    };
    doc.add(dense);
    let purpose = json!([{ "required": ["instructions"] }, { "required": ["task", "target"] }]);
    let with_purpose = json!({ "allOf": doc.read::<schema::ChromaRequest>(), "anyOf": purpose });
    let with_purpose = Schema::try_from(with_purpose).expect("an object");
    let sparse = Operation {
        requests: [doc.read::<schema::EmbedRequest>(), vec![with_purpose]].concat(),
        answers: [
            doc.write::<Vec<Vec<tei::Entry>>>(),
            doc.write::<chroma::Response<chroma::Sparse>>(),
        ]
        .concat(),
        errors,
        model_header: Some(false),
        ..route(
            "/embed_sparse",
            "embedSparse",
            "Sparse vectors, as text-embeddings-inference (Trieve) and Chroma give them",
        )
    };
    doc.add(sparse);
}

fn tei_routes(doc: &mut Document) {
    let operations = [
        Operation {
            requests: doc.read::<schema::EmbedRequest>(),
            answers: doc.write::<Vec<Vec<Vec<f32>>>>(),
            ..route("/embed_all", "embedAll", "A vector for each token")
        },
        Operation {
            requests: doc.read::<schema::SimilarityRequest>(),
            answers: doc.write::<Vec<f32>>(),
            ..route(
                "/similarity",
                "similarity",
                "How similar a sentence is to others: cosines",
            )
        },
        Operation {
            requests: doc.read::<schema::TokenizeRequest>(),
            answers: doc.write::<Vec<Vec<Token>>>(),
            ..route("/tokenize", "tokenize", "The tokens of texts")
        },
        Operation {
            requests: doc.read::<schema::DecodeRequest>(),
            answers: doc.write::<Vec<String>>(),
            ..route("/decode", "decode", "The texts of token ids")
        },
        Operation {
            method: "get",
            answers: doc.write::<tei::Info>(),
            ..route("/info", "info", "What the model is")
        },
        Operation {
            method: "get",
            ..route("/health", "health", "Whether the server is up")
        },
        Operation {
            method: "get",
            ..route("/ping", "ping", "Whether the server is up")
        },
        Operation {
            method: "get",
            ..route("/", "root", "Whether the server is up")
        },
        Operation {
            method: "get",
            ..route(
                "/metrics",
                "metrics",
                "Numbers about the server, as text for Prometheus",
            )
        },
    ];
    for operation in operations {
        let errors = doc.errors::<TeiBody>(TEI_ERRORS);
        doc.add(Operation {
            errors,
            ..operation
        });
    }
}

fn other_routes(doc: &mut Document) {
    let root = Operation {
        requests: [
            doc.read::<schema::EmbedDenseRequest>(),
            doc.read::<schema::SimilarityRequest>(),
            doc.read::<schema::ChromaRequest>(),
        ]
        .concat(),
        answers: [
            doc.write::<Vec<Vec<f32>>>(),
            doc.write::<Vec<Vec<tei::Entry>>>(),
            doc.write::<Vec<f32>>(),
            doc.write::<chroma::Response<Vec<f32>>>(),
        ]
        .concat(),
        errors: [
            doc.errors::<TeiBody>(TEI_ERRORS),
            doc.errors::<ChromaBody>(CHROMA_ERRORS),
        ]
        .concat(),
        model_header: Some(false),
        ..route(
            "/",
            "embedRoot",
            "What the model gives, as text-embeddings-inference does, or dense vectors, as Chroma does",
        )
    };
    doc.add(root);
    let inworld = Operation {
        requests: doc.read::<schema::InworldRequest>(),
        answers: doc.write::<inworld::Response>(),
        errors: doc.errors::<RpcStatus>(INWORLD_ERRORS),
        ..route(
            "/ml/v1alpha/embedding:embed",
            "embedInworld",
            "Dense vectors, as Inworld gives them",
        )
    };
    doc.add(inworld);
}

fn document() -> Value {
    let mut doc = Document::new();
    openai_routes(&mut doc);
    shared_routes(&mut doc);
    tei_routes(&mut doc);
    other_routes(&mut doc);
    doc.finish()
}

#[test]
fn the_document_is_what_the_types_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/http/openapi.json");
    let made = format!("{:#}\n", document());
    if std::env::var_os("GOSSAMER_WRITE_OPENAPI").is_some() {
        std::fs::write(path, &made).expect("the document can be written");
    }
    assert!(
        made == super::OPENAPI,
        "openapi.json is out of date: GOSSAMER_WRITE_OPENAPI=1 cargo test --lib openapi, then once more"
    );
}
