//! The `OpenAPI` 3.1 document. Each format describes its own routes, with the types that it reads
//! and writes. The document is committed, so that no build contains the code that generates it.

use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::{Contract, SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::problem::{Cause, Problem, Tell};
use crate::api::formats::{self, Access, server};
use crate::backend::cpu::Cpu;

/// The document while it is generated. The methods add routes; if several formats have a route of
/// the same method and path, the document has their requests, responses and errors as alternatives.
pub struct Document {
    reads: SchemaGenerator,
    writes: SchemaGenerator,
    /// By path and method.
    operations: BTreeMap<(&'static str, &'static str), Operation>,
    /// The errors of the format whose routes are added.
    errors: Option<Errors>,
    /// Headers that hold a key, by name of the scheme.
    key_headers: BTreeMap<&'static str, &'static str>,
}

#[derive(Default)]
struct Operation {
    id: &'static str,
    summaries: Vec<&'static str>,
    requests: Vec<Schema>,
    responses: Vec<Schema>,
    errors: Vec<Errors>,
    /// Parameters in headers, none of which is required: name and description.
    headers: Vec<(&'static str, &'static str)>,
    /// Whether the response is text.
    text: bool,
}

/// The errors of a format: the name of the type of their bodies, its schema, and their statuses.
#[derive(Clone, PartialEq)]
struct Errors {
    name: String,
    schema: Schema,
    statuses: BTreeSet<u16>,
}

fn add<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}

impl Document {
    fn new() -> Self {
        // A request may leave fields out, a response never does.
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
            operations: BTreeMap::new(),
            errors: None,
            key_headers: BTreeMap::new(),
        }
    }

    /// The routes that follow report errors with a body of type `T`, as `tell` does.
    pub fn errors<T: JsonSchema>(&mut self, tell: Tell) {
        let status = |cause| tell(&Problem::new(cause, "", "")).0;
        self.errors = Some(Errors {
            name: T::schema_name().into_owned(),
            schema: self.writes.subschema_for::<T>(),
            statuses: Cause::ALL.map(status).into(),
        });
    }

    fn operation(
        &mut self,
        method: &'static str,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
    ) -> &mut Operation {
        let operation = self.operations.entry((path, method)).or_default();
        operation.id = id;
        add(&mut operation.summaries, summary);
        let errors = self.errors.clone();
        add(
            &mut operation.errors,
            errors.expect("the errors come first"),
        );
        operation
    }

    /// Adds a route that reads `Q` and writes `R`.
    pub fn post<Q: JsonSchema, R: JsonSchema>(
        &mut self,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
    ) {
        let request = self.reads.subschema_for::<Q>();
        let response = self.writes.subschema_for::<R>();
        let operation = self.operation("post", path, id, summary);
        add(&mut operation.requests, request);
        add(&mut operation.responses, response);
    }

    /// Adds a route for `GET` that writes `R`.
    pub fn answer<R: JsonSchema>(
        &mut self,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
    ) {
        let response = self.writes.subschema_for::<R>();
        self.operation("get", path, id, summary)
            .responses
            .push(response);
    }

    /// Adds a route for `GET` whose response is text.
    pub fn text(&mut self, path: &'static str, id: &'static str, summary: &'static str) {
        self.operation("get", path, id, summary).text = true;
    }

    /// Adds a route for `GET` whose response has no body that a schema describes.
    pub fn get(&mut self, path: &'static str, id: &'static str, summary: &'static str) {
        self.operation("get", path, id, summary);
    }

    /// Adds an optional header to a route for `POST`.
    pub fn header(&mut self, path: &'static str, name: &'static str, description: &'static str) {
        let operation = self.operations.get_mut(&(path, "post"));
        let operation = operation.expect("the route comes first");
        operation.headers.push((name, description));
    }

    /// Adds a header that may hold the key.
    pub fn key_header(&mut self, scheme: &'static str, name: &'static str) {
        self.key_headers.insert(scheme, name);
    }

    fn finish(mut self) -> Value {
        let mut paths = Map::new();
        let mut responses = Map::new();
        for ((path, method), operation) in &self.operations {
            let methods = paths.entry(*path).or_insert_with(|| json!({}));
            methods[method] = operation.write(path, &mut responses);
        }
        for (path, method) in routes(|access| access == Access::Open) {
            paths[path][method.as_str()]["security"] = json!([]);
        }
        let mut schemas = self.reads.take_definitions(true);
        for (name, schema) in self.writes.take_definitions(true) {
            let before = schemas.insert(name.clone(), schema);
            assert!(before.is_none(), "two types are called {name}");
        }
        let scheme = |scheme: &str| json!({ "type": "http", "scheme": scheme });
        let mut key_schemes = json!({ "bearer": scheme("bearer"), "basic": scheme("basic") });
        // A server without keys asks for none.
        let mut security = vec![json!({}), json!({ "bearer": [] }), json!({ "basic": [] })];
        for (scheme, header) in self.key_headers {
            key_schemes[scheme] = json!({ "type": "apiKey", "in": "header", "name": header });
            security.push(json!({ scheme: [] }));
        }
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Gossamer",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Dense and sparse text embeddings in the formats of several APIs.",
                "license": { "name": "MIT OR Apache-2.0" },
            },
            "paths": paths,
            "components": {
                "schemas": schemas,
                "responses": responses,
                "securitySchemes": key_schemes,
            },
            "security": security,
        })
    }
}

impl Operation {
    /// The operation as JSON. Its errors go into `components`.
    fn write(&self, path: &str, components: &mut Map<String, Value>) -> Value {
        let mut responses = Map::new();
        let mut ok = json!({ "description": "The response" });
        if self.text {
            ok["content"] = json!({ "text/plain": { "schema": { "type": "string" } } });
        }
        if !self.responses.is_empty() {
            ok["content"] = content(&any(&self.responses));
        }
        responses.insert("200".to_owned(), ok);
        let statuses: BTreeSet<u16> = self
            .errors
            .iter()
            .flat_map(|errors| errors.statuses.iter().copied())
            .collect();
        for status in statuses {
            let told = self
                .errors
                .iter()
                .filter(|errors| errors.statuses.contains(&status));
            let (mut names, mut bodies) = (Vec::new(), Vec::new());
            for errors in told {
                add(&mut names, errors.name.as_str());
                add(&mut bodies, errors.schema.clone());
            }
            let name = format!("{}{status}", names.join("Or"));
            let reference = json!({ "$ref": format!("#/components/responses/{name}") });
            responses.insert(status.to_string(), reference);
            let response =
                json!({ "description": describe(status), "content": content(&any(&bodies)) });
            components.insert(name, response);
        }
        let summary = self.summaries.join("; ");
        let mut entry =
            json!({ "operationId": self.id, "summary": summary, "responses": responses });
        if !self.requests.is_empty() {
            entry["requestBody"] =
                json!({ "required": true, "content": content(&any(&self.requests)) });
        }
        if path.ends_with("{id}") {
            entry["parameters"] = json!([{
                "name": "id",
                "in": "path",
                "required": true,
                "schema": { "type": "string" },
            }]);
        }
        let header = |(name, description): &(&str, &str)| {
            json!({
                "name": name,
                "in": "header",
                "required": false,
                "schema": { "type": "string" },
                "description": description,
            })
        };
        if !self.headers.is_empty() {
            entry["parameters"] = self.headers.iter().map(header).collect();
        }
        entry
    }
}

/// The paths and methods of the routes whose access is one of these.
fn routes(access: fn(Access) -> bool) -> BTreeSet<(&'static str, String)> {
    let all = formats::all::<Cpu>()
        .iter()
        .flat_map(|format| format.routes);
    let routes = all.filter(|route| access(route.access));
    routes
        .map(|route| (route.path, route.method.to_lowercase()))
        .collect()
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
        400 => "The request is wrong; the message says why",
        401 => "The API key is missing or wrong",
        404 => "There is no such model",
        405 => "The path takes another method",
        408 | 504 => "The request took too long",
        413 => "The body is too large, has too many inputs, or the response would be too large",
        415 => "The body is compressed",
        422 => "The request is wrong for the model, for example because a text is too long",
        424 | 501 => "The model does not give this kind of output",
        429 => "Too many requests are under way",
        503 => "The server or the model is not available now",
        _ => "The response could not be computed",
    }
}

/// Writes JSON with one line per element of the outer `levels`, so that a change shows as a change
/// of few lines. The document is part of the wasm, which indentation would make larger.
fn write(value: &Value, levels: usize) -> String {
    match value {
        Value::Object(fields) if levels > 0 => {
            let line = |(name, value): (&String, &Value)| {
                format!("{}:{}", json!(name), write(value, levels - 1))
            };
            let lines: Vec<String> = fields.iter().map(line).collect();
            format!("{{\n{}\n}}", lines.join(",\n"))
        }
        other => other.to_string(),
    }
}

#[test]
fn the_document_is_what_the_types_say() {
    let mut document = Document::new();
    for format in formats::all::<Cpu>() {
        document.errors = None;
        (format.document)(&mut document);
    }
    let described: BTreeSet<_> = document
        .operations
        .keys()
        .map(|(path, method)| (*path, (*method).to_owned()))
        .collect();
    assert_eq!(described, routes(|_| true), "each route is described");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/http/openapi.json");
    let made = write(&document.finish(), 3) + "\n";
    if std::env::var_os("GOSSAMER_WRITE_OPENAPI").is_some() {
        std::fs::write(path, &made).expect("the document can be written");
    }
    assert!(
        made == server::OPENAPI,
        "openapi.json is out of date: GOSSAMER_WRITE_OPENAPI=1 cargo test --lib openapi, then once more"
    );
}
