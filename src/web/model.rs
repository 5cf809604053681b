//! The calls of a loaded model. Each starts a [`Job`].

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Promise, Uint8Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::convert::{
    self, Thrown, chunked, dense, from_js, info, multi, scores, sparse, to_js, token_vectors,
};
use super::job::{Job, Listed, Shared, Work};
use super::pairs;
use super::request::{self, cutting, incoming, object, strings, texts};
use crate::api::{Pending, http, openai, tei};
use crate::error::Error;
use crate::full;
use crate::jobs::Jobs;
use crate::{Either, Embedder, EncodeOptions};

/// A loaded model. Its calls start a [`Job`].
#[wasm_bindgen]
pub struct Model(Rc<Shared>);

impl Model {
    pub(super) fn new(embedder: Embedder<Either>) -> Self {
        Self(Rc::new(Shared {
            embedder,
            jobs: Jobs::default(),
        }))
    }
}

#[wasm_bindgen]
impl Model {
    /// What is known about the model, as a plain object.
    pub fn info(&self) -> Thrown<JsValue> {
        to_js(&info(&self.0.embedder))
    }

    /// Passes of fewer tokens than this run on the CPU, if it has the weights as well.
    #[wasm_bindgen(js_name = setGpuFrom)]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates"
    )]
    pub fn set_gpu_from(&self, tokens: f64) {
        self.0.embedder.backend().set_gpu_from(tokens as usize);
    }

    /// Compares the GPU's vectors of fixed texts with the CPU's. No other job may be under way.
    pub fn check(&self) -> Promise {
        // Before the future is made: its states would keep the whole check in the common build.
        // (The full build, whose glue both have, imports no `Promise.reject`.)
        if let Err(error) = full::need("the check of a GPU") {
            let failed = std::future::ready(Err(error.into()));
            return wasm_bindgen_futures::future_to_promise(failed);
        }
        let shared = Rc::clone(&self.0);
        wasm_bindgen_futures::future_to_promise(async move {
            shared.embedder.check().await?;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// OpenAI's create-embedding body → its response.
    pub fn embeddings(&self, body: &JsValue) -> Thrown<Job> {
        self.answer(openai::start(&self.0.embedder, object(body)?, true))
    }

    /// `string | string[] | number[] | number[][]` → `{ data, shape, tokens, truncated }`.
    pub fn encode(&self, inputs: JsValue, options: JsValue) -> Thrown<Job> {
        let run = self
            .0
            .embedder
            .start(texts(inputs)?, &from_js("options", options)?);
        self.job(run.map(|run| Work::Native(Box::new(run), |output| dense(&output.into_dense()))))
    }

    /// As `encode` → `[{ indices, values, labels? }]`.
    #[wasm_bindgen(js_name = encodeSparse)]
    pub fn encode_sparse(&self, inputs: JsValue, options: JsValue) -> Thrown<Job> {
        let inputs = texts(inputs)?;
        let run = self
            .0
            .embedder
            .start_sparse(inputs, &from_js("options", options)?);
        self.job(run.map(|run| {
            Work::Native(Box::new(run), |output| {
                sparse(output.sparse.unwrap_or_default())
            })
        }))
    }

    /// As `encode` → `[{ data, shape, output?, scales? }]`, a vector for each token.
    #[wasm_bindgen(js_name = encodeTokens)]
    pub fn encode_tokens(&self, inputs: JsValue, options: JsValue) -> Thrown<Job> {
        let inputs = texts(inputs)?;
        let run = self
            .0
            .embedder
            .start_tokens(inputs, &from_js("options", options)?);
        self.job(run.map(|run| {
            Work::Native(Box::new(run), |output| {
                token_vectors(&output.token_vectors.unwrap_or_default())
            })
        }))
    }

    /// As `encode` → `{ dense?, sparse?, tokens? }`, from one forward pass.
    #[wasm_bindgen(js_name = encodeMulti)]
    pub fn encode_multi(&self, inputs: JsValue, options: JsValue) -> Thrown<Job> {
        let inputs = texts(inputs)?;
        let run = self
            .0
            .embedder
            .start_multi(inputs, &from_js("options", options)?);
        self.job(run.map(|run| Work::Native(Box::new(run), multi)))
    }

    /// `[[text, text], …]` → `{ data, shape, tokens, truncated }`, scores row by row.
    pub fn score(&self, inputs: &JsValue, options: &JsValue) -> Thrown<Job> {
        let inputs = pairs::pairs(inputs)?;
        let options = pairs::options(options)?;
        let run = self.0.embedder.start_scores(inputs, &options);
        self.job(run.map(|run| Work::Native(Box::new(run), scores)))
    }

    /// `{ query, documents }` → as `score`, in the order of the documents.
    pub fn rerank(&self, request: &JsValue, options: &JsValue) -> Thrown<Job> {
        let (query, documents) = pairs::documents(request)?;
        let options = pairs::options(options)?;
        let run = self.0.embedder.start_rerank(&query, documents, &options);
        self.job(run.map(|run| Work::Native(Box::new(run), scores)))
    }

    /// `{ texts, chunkSize?, overlap?, late? }` → `{ data, shape, tokens, truncated, chunks }`,
    /// with a list of places of chunks for each text.
    #[wasm_bindgen(js_name = encodeChunks)]
    pub fn encode_chunks(&self, request: JsValue, options: JsValue) -> Thrown<Job> {
        let (texts, cuts) = cutting(request)?;
        let options = from_js("options", options)?;
        let run = self.0.embedder.start_chunks(texts, cuts, &options);
        self.job(run.map(|run| Work::Native(Box::new(run), chunked)))
    }

    /// As `encodeChunks` → the places of chunks only.
    pub fn chunk(&self, request: JsValue, options: JsValue) -> Thrown<Job> {
        let (texts, cuts) = cutting(request)?;
        let options: EncodeOptions = from_js("options", options)?;
        let run = self.0.embedder.start_chunk(strings(texts)?, cuts, &options);
        self.job(run.map(|run| Work::Chunk(run, Listed::default())))
    }

    /// TEI's `embed_sparse` body → `[[{ index, value }]]`.
    #[wasm_bindgen(js_name = embedSparse)]
    pub fn embed_sparse(&self, body: &JsValue) -> Thrown<Job> {
        self.answer(tei::start_sparse(&self.0.embedder, object(body)?, false))
    }

    /// TEI's `embed_all` body → `[[[number]]]`.
    #[wasm_bindgen(js_name = embedAll)]
    pub fn embed_all(&self, body: &JsValue) -> Thrown<Job> {
        self.answer(tei::start_all(&self.0.embedder, object(body)?, false))
    }

    /// `string | string[]` → tokens of each text.
    pub fn tokenize(&self, texts: JsValue, options: JsValue) -> Thrown<Job> {
        let options: convert::TokenizeOptions = from_js("options", options)?;
        let special = options.add_special_tokens.unwrap_or(true);
        let texts = strings(request::texts(texts)?)?;
        let run = self.0.embedder.start_tokenize(texts, special);
        self.job(Ok(Work::Tokenize(run, Listed::default())))
    }

    /// `{ head: { method, path, headers }, body: ArrayBuffer }`, options as [`http::Options`] →
    /// `{ status, headers, body }`. Errors about the request are in the answer.
    pub fn fetch(&self, request: &JsValue, options: JsValue) -> Thrown<Job> {
        let incoming = incoming(request)?;
        let options: http::Options = from_js("options", options)?;
        let exchange = http::Exchange::start(&self.0.embedder, incoming, &options);
        self.job(Ok(Work::Fetch(exchange)))
    }

    /// Options `{ shard? }` → `[{ path, size }]`: the files of a folder that loads as this model.
    pub fn save(&self, _: JsValue, options: JsValue) -> Thrown<Job> {
        let options: convert::SaveOptions = from_js("options", options)?;
        let files = options.files(&self.0.embedder)?;
        let list = to_js(&convert::saved(&files))?;
        self.job(Ok(Work::Done(list)))
    }

    /// `{ file, offset, length }`, the number of a file of `save` with the same options, and which
    /// of its bytes → `ArrayBuffer`.
    #[wasm_bindgen(js_name = readSaved)]
    pub fn read_saved(&self, piece: JsValue, options: JsValue) -> Thrown<Job> {
        let piece: convert::Piece = from_js("piece", piece)?;
        let options: convert::SaveOptions = from_js("options", options)?;
        let (shared, out) = (Rc::clone(&self.0), Rc::new(RefCell::default()));
        let filled = Rc::clone(&out);
        let reading = async move {
            let bytes = read_saved(&shared.embedder, &piece, &options).await;
            *filled.borrow_mut() = Some(bytes.map_err(Into::into));
            Ok(JsValue::UNDEFINED)
        };
        let promise = wasm_bindgen_futures::future_to_promise(reading);
        self.job(Ok(Work::Promised(promise, out)))
    }

    fn answer<T: Serialize + 'static>(&self, pending: crate::Result<Pending<T>>) -> Thrown<Job> {
        let pending = pending.map(|pending| pending.map(|response| to_js(&response)));
        self.job(pending.map(|pending| Work::Api(Box::new(pending))))
    }

    fn job(&self, work: crate::Result<Work>) -> Thrown<Job> {
        Ok(Job::new(&self.0, work?))
    }
}

/// Bytes of a file of a saved model, as an `ArrayBuffer`.
async fn read_saved(
    embedder: &Embedder<Either>,
    piece: &convert::Piece,
    options: &convert::SaveOptions,
) -> crate::Result<JsValue> {
    let files = options.files(embedder)?;
    let file = files.get(piece.file);
    let file = file.ok_or_else(|| Error::input("file", "there is no file of that number"))?;
    let mut bytes = crate::error::zeroed(piece.length)?;
    let read = embedder.fetch_saved(file, piece.offset, &mut bytes);
    let read = read.await?;
    Ok(Uint8Array::from(&bytes[..read]).buffer().into())
}
