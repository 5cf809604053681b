//! Rust values ↔ JavaScript values.

use std::collections::BTreeMap;

use js_sys::{Array, Float32Array, Int8Array, Object, Reflect, Uint8Array, Uint32Array};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::error::Error;
use crate::maps::map;
use crate::{
    Chunk, ChunkOptions, DenseBatch, Either, Embedder, Output, SavedFile, SparseVector, Step,
    TokenVectors,
};

/// A result whose error is thrown in JavaScript.
pub type Thrown<T> = Result<T, JsValue>;

/// Which build this is.
const SIMD: &str = if cfg!(feature = "relaxed-simd") {
    "relaxed-simd"
} else {
    "simd128"
};

/// The options of `new Loader`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadRequest {
    pub model: String,
    pub revision: Option<String>,
    pub dtype: Option<String>,
    pub file: Option<String>,
    pub kind: Option<String>,
    pub adapter: Option<AdapterRequest>,
    pub pooling: Option<Vec<String>>,
    pub normalize: Option<bool>,
    pub prompts: Option<BTreeMap<String, String>>,
    #[serde(rename = "maxTokens")]
    pub max_tokens: Option<usize>,
    #[serde(default)]
    pub saveable: bool,
    #[serde(default)]
    pub sha256: BTreeMap<String, String>,
}

/// An adapter among the options.
#[derive(Deserialize)]
pub struct AdapterRequest {
    pub name: String,
    pub folder: String,
}

/// [`Step`] as an object.
#[derive(Serialize)]
pub struct LoadStep {
    need: &'static str,
    file: Option<String>,
    files: Option<Vec<String>>,
}

impl From<Step> for LoadStep {
    fn from(step: Step) -> Self {
        let (need, file, files) = match step {
            Step::Small(files) => ("small", None, Some(files)),
            Step::Stream { file, files } => ("stream", Some(file), Some(files)),
            Step::Ready => ("ready", None, None),
        };
        Self { need, file, files }
    }
}

/// The options of `tokenize`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TokenizeOptions {
    pub add_special_tokens: Option<bool>,
}

/// How `chunk` and `encodeChunks` are to cut: `{ chunkSize?, overlap?, late? }`. Read by hand: a
/// derived reader of three fields has 7 KB.
pub fn chunk_options(request: &serde_json::Value) -> Result<ChunkOptions, Error> {
    let number = |name: &'static str| match request.get(name) {
        None => Ok(None),
        Some(value) => {
            let whole = value
                .as_u64()
                .and_then(|number| usize::try_from(number).ok());
            let wrong = || {
                let reason = format!("{name} is {value}; it must be a whole number");
                Error::input(name, reason)
            };
            whole.map(Some).ok_or_else(wrong)
        }
    };
    let late = match request.get("late") {
        None => false,
        Some(serde_json::Value::Bool(late)) => *late,
        Some(other) => {
            let reason = format!("late is {other}; it must be true or false");
            return Err(Error::input("late", reason));
        }
    };
    Ok(ChunkOptions {
        size: number("chunkSize")?,
        overlap: number("overlap")?.unwrap_or_default(),
        late,
    })
}

/// The options of `save`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SaveOptions {
    /// The largest size of a file, in bytes.
    shard: Option<f64>,
    /// Whether to save the model without what the options of loading changed.
    original: bool,
}

impl SaveOptions {
    /// The files of the saved model.
    pub fn files(&self, embedder: &Embedder<Either>) -> Result<Vec<SavedFile>, Error> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and no file has less than a byte"
        )]
        let shard = self.shard.map(|bytes| bytes as u64);
        if self.original {
            embedder.save_original(shard)
        } else {
            embedder.save(shard)
        }
    }
}

/// Some bytes of a saved file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    pub file: usize,
    pub offset: u64,
    pub length: usize,
}

/// A file of `save`.
#[derive(Serialize)]
pub struct SavedEntry<'a> {
    path: &'a str,
    size: f64,
}

/// The answer of `save`.
pub fn saved(files: &[SavedFile]) -> Vec<SavedEntry<'_>> {
    fn entry(file: &SavedFile) -> SavedEntry<'_> {
        SavedEntry {
            path: &file.path,
            #[expect(clippy::cast_precision_loss, reason = "less than the memory of wasm")]
            size: file.size as f64,
        }
    }
    files.iter().map(entry).collect()
}

/// The answer of `info`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
    family: &'a str,
    kind: &'a str,
    outputs: Vec<&'a str>,
    tasks: Vec<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    labels: &'a [String],
    dimensions: usize,
    max_tokens: usize,
    dtype: &'a str,
    device: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_from: Option<usize>,
    simd: &'a str,
    dot_kernel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<StoredInfo<'a>>,
    files: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    left_out: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    lora: Option<LoraInfo<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assumed: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    overridden: BTreeMap<&'a str, &'a serde_json::Value>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pooling: Vec<&'a str>,
    parameters: usize,
    weight_bytes: usize,
    prompts: &'a std::collections::BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_prompt_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instruction_template: Option<&'a str>,
    similarity: &'a str,
    normalized: bool,
    space_id: String,
}

/// `ModelInfo::lora`.
#[derive(Serialize)]
struct LoraInfo<'a> {
    adapter: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'a str>,
    rank: usize,
}

/// `ModelInfo::stored`.
#[derive(Serialize)]
struct StoredInfo<'a> {
    layout: &'a str,
    outcome: &'static str,
}

pub fn info(embedder: &Embedder<Either>) -> ModelInfo<'_> {
    let info = embedder.info();
    let backend = embedder.backend();
    let gpu = backend
        .device()
        .filter(|_| embedder.uses_backend())
        .filter(|_| !backend.has_both() || backend.gpu_from() < usize::MAX);
    ModelInfo {
        model: &info.model,
        revision: info.revision.as_deref(),
        family: info.family,
        kind: embedder.kind(),
        outputs: embedder.outputs(),
        tasks: embedder.tasks(),
        labels: embedder.labels(),
        dimensions: embedder.dimensions(),
        max_tokens: info.max_tokens,
        dtype: info.dtype.name(),
        device: if gpu.is_some() { "webgpu" } else { "cpu" },
        adapter: gpu.map(crate::Gpu::name),
        gpu_from: gpu
            .filter(|_| backend.has_both())
            .map(|_| backend.gpu_from()),
        simd: SIMD,
        dot_kernel: backend.host().kernel().name(),
        stored: info.stored.as_ref().map(|stored| StoredInfo {
            layout: &stored.layout,
            outcome: stored.outcome.name(),
        }),
        files: &info.files,
        left_out: &info.left_out,
        lora: info.lora.as_ref().map(|lora| LoraInfo {
            adapter: &lora.adapter,
            base: lora.base.as_deref(),
            rank: lora.rank,
        }),
        assumed: info.assumed,
        overridden: map(info
            .overridden
            .iter()
            .map(|(option, value)| (*option, value))),
        pooling: {
            let modes = embedder.pooling().unwrap_or_default();
            modes.iter().map(|mode| mode.mode().name).collect()
        },
        parameters: info.parameters,
        weight_bytes: embedder.weight_bytes(),
        prompts: &info.prompts.named,
        default_prompt_name: info.prompts.default.as_deref(),
        instruction_template: info.instruction_template.as_deref(),
        similarity: &info.similarity,
        normalized: embedder.normalized(),
        space_id: embedder.space_id(),
    }
}

/// Reads a plain JavaScript value; `undefined` and `null` give the type's default where it has one.
pub fn from_js<T: DeserializeOwned>(what: &'static str, value: JsValue) -> Result<T, Error> {
    let value = if value.is_undefined() || value.is_null() {
        Object::new().into()
    } else {
        value
    };
    let unusable = |error: &dyn std::fmt::Display| {
        Error::input(what, format!("{what} cannot be used: {error}"))
    };
    // By way of serde_json: serde_wasm_bindgen asks an object for known fields only, so unknown
    // ones pass unseen.
    let value: serde_json::Value =
        serde_wasm_bindgen::from_value(value).map_err(|error| unusable(&error))?;
    serde_json::from_value(value).map_err(|error| unusable(&error))
}

/// Makes a plain JavaScript value.
pub fn to_js(value: &impl Serialize) -> Result<JsValue, JsValue> {
    value
        .serialize(&serde_wasm_bindgen::Serializer::json_compatible())
        .map_err(|error| Error::Internal(error.to_string()).into())
}

/// `{ data, shape, tokens, truncated }`, with one copy out of wasm memory; and of whole numbers
/// `{ output, dimensions, scales? }`.
pub fn dense(batch: &DenseBatch) -> Result<JsValue, JsValue> {
    let shape = |width: usize| -> JsValue {
        let shape = [batch.tokens.len(), width].map(JsValue::from);
        shape.into_iter().collect::<Array>().into()
    };
    let truncated: Array = batch.truncated.iter().copied().map(JsValue::from).collect();
    let all = object([
        ("tokens", Uint32Array::from(batch.tokens.as_slice()).into()),
        ("truncated", truncated.into()),
    ])?;
    let set = |name: &str, value: JsValue| Reflect::set(&all, &name.into(), &value);
    let Some(quantized) = &batch.quantized else {
        set("data", Float32Array::from(batch.data.as_slice()).into())?;
        set("shape", shape(batch.dimensions))?;
        return Ok(all);
    };
    let bytes = Uint8Array::from(quantized.codes.as_slice());
    let data = if quantized.dtype.is_signed() {
        Int8Array::new(&bytes.buffer()).into()
    } else {
        bytes.into()
    };
    set("data", data)?;
    set("shape", shape(quantized.dtype.width(batch.dimensions)))?;
    set("output", quantized.dtype.name().into())?;
    set("dimensions", batch.dimensions.into())?;
    if quantized.dtype.has_scales() {
        let scales = Float32Array::from(quantized.scales.as_slice());
        set("scales", scales.into())?;
    }
    Ok(all)
}

/// For each chunk: start, end (in units of UTF-16), first token, end token.
pub fn chunks(chunks: &[Chunk]) -> JsValue {
    let places = |Chunk { utf16, tokens, .. }: &Chunk| {
        let places = [utf16.start, utf16.end, tokens.start, tokens.end];
        places.map(|place| u32::try_from(place).unwrap_or(u32::MAX))
    };
    let all: Vec<u32> = chunks.iter().flat_map(places).collect();
    Uint32Array::from(all.as_slice()).into()
}

/// As [`dense`], with `chunks` for each text
pub fn chunked(mut output: Output) -> Result<JsValue, JsValue> {
    let texts = std::mem::take(&mut output.chunks);
    let all = dense(&output.into_dense())?;
    let list: Array = texts.iter().map(|text| chunks(text)).collect();
    Reflect::set(&all, &"chunks".into(), &list)?;
    Ok(all)
}

/// `{ data, shape, tokens, truncated }`
pub fn scores(output: Output) -> Result<JsValue, JsValue> {
    let batch = output.into_scores();
    dense(&DenseBatch {
        data: batch.scores,
        dimensions: batch.labels,
        tokens: batch.tokens,
        truncated: batch.truncated,
        quantized: None,
    })
}

/// `[{ indices, values, labels? }]`
pub fn sparse(vectors: Vec<SparseVector>) -> Result<JsValue, JsValue> {
    let all = Array::new();
    for vector in vectors {
        let indices = Uint32Array::from(vector.indices.as_slice()).into();
        let values = Float32Array::from(vector.values.as_slice()).into();
        let entry = object([("indices", indices), ("values", values)])?;
        if let Some(labels) = vector.labels {
            let labels: Array = labels.into_iter().map(JsValue::from).collect();
            Reflect::set(&entry, &"labels".into(), &labels)?;
        }
        all.push(&entry);
    }
    Ok(all.into())
}

/// `[{ data, shape, output?, scales? }]`
pub fn token_vectors(all: &[TokenVectors]) -> Result<JsValue, JsValue> {
    let entries = all.iter().map(|tokens| {
        let shape: Array = [tokens.rows(), tokens.dimensions]
            .map(JsValue::from)
            .into_iter()
            .collect();
        let Some(quantized) = &tokens.quantized else {
            let data = Float32Array::from(tokens.data.as_slice());
            return object([("data", data.into()), ("shape", shape.into())]);
        };
        let codes: &[i8] = bytemuck::cast_slice(&quantized.codes);
        let scales = Float32Array::from(quantized.scales.as_slice());
        object([
            ("data", Int8Array::from(codes).into()),
            ("shape", shape.into()),
            ("output", quantized.dtype.name().into()),
            ("scales", scales.into()),
        ])
    });
    let entries: Array = entries.collect::<Result<_, _>>()?;
    Ok(entries.into())
}

/// `{ dense?, sparse?, tokens? }`, each as by itself
pub fn multi(mut output: Output) -> Result<JsValue, JsValue> {
    let all = object([])?;
    if let Some(vectors) = output.sparse.take() {
        Reflect::set(&all, &"sparse".into(), &sparse(vectors)?)?;
    }
    if let Some(vectors) = output.token_vectors.take() {
        Reflect::set(&all, &"tokens".into(), &token_vectors(&vectors)?)?;
    }
    if output.dense.is_some() {
        Reflect::set(&all, &"dense".into(), &dense(&output.into_dense())?)?;
    }
    Ok(all)
}

fn object<const N: usize>(fields: [(&str, JsValue); N]) -> Result<JsValue, JsValue> {
    let object = Object::new();
    for (name, value) in fields {
        Reflect::set(&object, &name.into(), &value)?;
    }
    Ok(object.into())
}

impl From<Error> for JsValue {
    /// An `Error` with the crate's `code` and `status` on it.
    fn from(error: Error) -> Self {
        let thrown = js_sys::Error::new(&error.to_string());
        // A fresh Error takes any property; were it refused, the message would still be there.
        let _ = Reflect::set(&thrown, &"code".into(), &error.code().into());
        let _ = Reflect::set(&thrown, &"status".into(), &error.status().into());
        thrown.into()
    }
}
