//! What JavaScript sees: thin wrappers, no logic. The npm package's TypeScript builds its public interface on these.

mod convert;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use js_sys::{Array, Promise, Reflect, Uint8Array};
use serde::Serialize;
use serde::de::DeserializeSeed;
use wasm_bindgen::prelude::*;

use self::convert::{chunked, chunks, dense, from_js, info, multi, sparse, to_js, token_vectors};
use crate::api::body::{self, Body, Reader};
use crate::api::{Pending, http, openai, tei};
use crate::error::Error;
use crate::{
    ChunkOptions, Either, EncodeOptions, Gpu, Input, Kind, LoadOptions, Output, Run, WeightDtype,
    pooling_modes,
};

type Thrown<T> = Result<T, JsValue>;

/// A GPU, to load a model on.
#[wasm_bindgen]
pub struct GpuDevice(Gpu);

/// The GPU that suits best.
#[wasm_bindgen(js_name = requestGpu)]
pub async fn request_gpu() -> Thrown<GpuDevice> {
    let gpu = Gpu::open().await?;
    Ok(GpuDevice(gpu))
}

/// A model that is being loaded. `model::load::loader` describes the steps.
#[wasm_bindgen]
pub struct Loader(crate::Loader<Either>);

#[wasm_bindgen]
impl Loader {
    /// `options`: see `convert::LoadRequest`. With a GPU the weights go there, and if `both`, the CPU has
    /// them too.
    #[wasm_bindgen(constructor)]
    pub fn new(options: JsValue, gpu: Option<GpuDevice>, both: bool) -> Thrown<Self> {
        let options: convert::LoadRequest = from_js("options", options)?;
        let dtype = match options.dtype.as_deref() {
            None | Some("auto") => None,
            Some(name) => Some(WeightDtype::from_name(name).ok_or_else(|| {
                let reason = format!(
                    "dtype is {name:?}; it must be \"auto\", \"f32\", \"f16\", \"q8\" or \"q4\""
                );
                Error::input("dtype", reason)
            })?),
        };
        let pins = options.sha256;
        let options = LoadOptions {
            model: options.model,
            revision: options.revision,
            dtype,
            file: options.file,
            kind: options.kind.as_deref().map(Kind::from_name).transpose()?,
            pooling: options
                .pooling
                .map(|names| pooling_modes(&names))
                .transpose()?,
            normalize: options.normalize,
            prompts: options.prompts,
            max_tokens: options.max_tokens,
            saveable: options.saveable,
        };
        let backend = match gpu {
            Some(GpuDevice(gpu)) => Either::gpu(gpu, both),
            None => Either::cpu(),
        };
        let mut loader = crate::Loader::new(backend, options);
        for (file, hash) in &pins {
            loader.pin(file, hash)?;
        }
        Ok(Self(loader))
    }

    /// What is needed next: `{ need: "small", files }`, `{ need: "stream", file, files }` or `{ need: "ready" }`.
    pub fn next(&mut self) -> Thrown<JsValue> {
        to_js(&convert::LoadStep::from(self.0.next()?))
    }

    /// Takes a small file, or nothing if the source does not have a file that was asked for.
    pub fn provide(&mut self, name: &str, bytes: Option<Vec<u8>>) -> Thrown<()> {
        Ok(self.0.provide(name, bytes)?)
    }

    /// Takes the next bytes of the current weight file, in any chunking. Returns the file's size in bytes once it is known.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the readers of files refuse sizes beyond 2^53"
    )]
    pub fn push(&mut self, chunk: &Uint8Array) -> Thrown<Option<f64>> {
        // Copied in slices, so that a large chunk does not need its size again in wasm memory.
        const SLICE: u32 = 1 << 16;
        let (mut start, mut size) = (0, None);
        while start < chunk.length() {
            let end = chunk.length().min(start + SLICE);
            size = self.0.push(&chunk.subarray(start, end).to_vec())?;
            start = end;
        }
        Ok(size.map(|size| size as f64))
    }

    /// Ends the current weight file.
    pub fn end(&mut self) -> Thrown<()> {
        Ok(self.0.end()?)
    }

    /// The model, once `ready` is next.
    pub fn finish(self) -> Thrown<Model> {
        let embedder = self.0.finish()?;
        let open = RefCell::default();
        Ok(Model(Rc::new(Shared { embedder, open })))
    }
}

/// A loaded model. Its calls start a [`Job`].
#[wasm_bindgen]
pub struct Model(Rc<Shared>);

/// What a model and its jobs share.
struct Shared {
    embedder: crate::Embedder<Either>,
    /// By number of the job: a step of one takes inputs of others along.
    open: RefCell<BTreeMap<u32, Work>>,
}

#[wasm_bindgen]
impl Model {
    /// What the model is, as a plain object.
    pub fn info(&self) -> Thrown<JsValue> {
        to_js(&info(&self.0.embedder))
    }

    /// Has passes of fewer tokens done on the CPU, where that has the weights, too.
    #[wasm_bindgen(js_name = setGpuFrom)]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates"
    )]
    pub fn set_gpu_from(&self, tokens: f64) {
        self.0.embedder.backend().set_gpu_from(tokens as usize);
    }

    /// Compares the GPU's vectors of fixed texts with the CPU's; nothing else may be under way.
    pub fn check(&self) -> Promise {
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

    /// As `encode` → `[{ data, shape }]`, a vector for each token.
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

    /// `{ texts, chunkSize?, overlap?, late? }` → `{ data, shape, tokens, truncated, chunks }`, with a list of places of chunks
    /// for each text.
    #[wasm_bindgen(js_name = encodeChunks)]
    pub fn encode_chunks(&self, request: JsValue, options: JsValue) -> Thrown<Job> {
        let (texts, cuts) = cutting(request)?;
        let options = from_js("options", options)?;
        let run = self.0.embedder.start_chunks(texts, cuts, &options);
        self.job(run.map(|run| Work::Native(Box::new(run), chunked)))
    }

    /// As `encodeChunks` → the places alone.
    pub fn chunk(&self, request: JsValue, options: JsValue) -> Thrown<Job> {
        let (texts, cuts) = cutting(request)?;
        let options: EncodeOptions = from_js("options", options)?;
        self.each(texts, move |embedder, text| {
            Ok(chunks(&embedder.chunk(text, cuts, &options)?))
        })
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
        self.each(self::texts(texts)?, move |embedder, text| {
            to_js(&embedder.tokenize(text, special)?)
        })
    }

    /// `{ head: { method, path, headers }, body: ArrayBuffer }`, options as [`http::Options`] → `{ status, headers, body }`;
    /// whatever is wrong with the request is in the answer.
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

    /// `{ file, offset, length }`, the number of a file of `save` with the same options, and which of its bytes →
    /// `ArrayBuffer`.
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

    /// Does something that needs no forward pass with each text.
    fn each(
        &self,
        texts: Vec<Input>,
        act: impl Fn(&crate::Embedder<Either>, &str) -> Thrown<JsValue> + 'static,
    ) -> Thrown<Job> {
        let texts = texts.into_iter().map(|input| match input {
            Input::Text(text) => Ok(text),
            Input::Ids(_) => Err(Error::input(
                "texts",
                "token ids cannot be tokenised; pass strings",
            )),
        });
        let work = texts
            .collect::<crate::Result<Vec<_>>>()
            .map(|texts| Work::Each {
                texts: texts.into_iter(),
                act: Box::new(act),
                out: Array::new(),
            });
        self.job(work)
    }

    fn job(&self, work: crate::Result<Work>) -> Thrown<Job> {
        let work = work?;
        let mut open = self.0.open.borrow_mut();
        // After 2^32 jobs the numbers begin again; whoever has one then has long been done.
        let number = open
            .keys()
            .next_back()
            .map_or(0, |last| last.wrapping_add(1));
        open.insert(number, work);
        Ok(Job {
            shared: Rc::clone(&self.0),
            number,
        })
    }
}

/// Work that is done a step at a time, so that the event loop can run between steps.
#[wasm_bindgen]
pub struct Job {
    shared: Rc<Shared>,
    number: u32,
}

enum Work {
    /// A run, and what becomes of its output.
    Native(Box<Run>, fn(Output) -> Thrown<JsValue>),
    /// A wire format's body.
    Api(Box<Pending<Thrown<JsValue>>>),
    Fetch(http::Exchange),
    /// A result that needed no steps.
    Done(JsValue),
    /// One that is on its way, and where it will be.
    Promised(Promise, Rc<RefCell<Option<Thrown<JsValue>>>>),
    /// Texts, and what is done with each.
    Each {
        texts: std::vec::IntoIter<String>,
        act: Box<Act>,
        out: Array,
    },
}

type Act = dyn Fn(&crate::Embedder<Either>, &str) -> Thrown<JsValue>;

impl Work {
    fn run(&mut self) -> Option<&mut Run> {
        match self {
            Self::Native(run, _) => Some(run),
            Self::Api(pending) => Some(&mut pending.run),
            Self::Fetch(exchange) => exchange.run(),
            Self::Done(_) | Self::Promised(..) | Self::Each { .. } => None,
        }
    }

    /// Resolves when a step can do something again, if that is not now.
    fn wait(&mut self) -> Option<Promise> {
        if let Self::Promised(promise, _) = self {
            return Some(promise.clone());
        }
        let waits_for = self.run()?.waits_for()?;
        Some(wasm_bindgen_futures::future_to_promise(async {
            waits_for.await;
            Ok(JsValue::UNDEFINED)
        }))
    }

    /// Does one step; true when all is done.
    fn step(
        &mut self,
        embedder: &crate::Embedder<Either>,
        others: &mut [&mut Run],
    ) -> Thrown<bool> {
        let done = match self {
            Self::Native(run, _) => run.step_with(embedder, others),
            Self::Api(pending) => pending.run.step_with(embedder, others),
            Self::Fetch(exchange) => Ok(exchange.step_with(embedder, others)),
            Self::Done(_) => Ok(true),
            Self::Promised(_, out) => Ok(out.borrow().is_some()),
            Self::Each { texts, act, out } => return each(embedder, texts, act, out),
        };
        Ok(done?)
    }

    /// The result, once all is done.
    fn finish(self) -> Thrown<JsValue> {
        match self {
            Self::Native(run, finish) => finish(run.finish()),
            Self::Api(pending) => pending.finish(),
            Self::Fetch(exchange) => to_js(&exchange.finish()),
            Self::Done(value) => Ok(value),
            Self::Promised(_, out) => out.take().unwrap_or(Ok(JsValue::UNDEFINED)),
            Self::Each { out, .. } => Ok(out.into()),
        }
    }
}

#[wasm_bindgen]
impl Job {
    /// Errors count the inputs from `first`: these are a part of a longer list.
    #[wasm_bindgen(js_name = countFrom)]
    pub fn count_from(&mut self, first: usize) {
        let mut open = self.shared.open.borrow_mut();
        // A request is never cut in parts.
        if let Some(run) = open.get_mut(&self.number).and_then(Work::run) {
            run.count_from(first);
        }
    }

    /// Does one step; true when all is done.
    pub fn step(&mut self) -> Thrown<bool> {
        let mut open = self.shared.open.borrow_mut();
        let Some(mut work) = open.remove(&self.number) else {
            return Ok(true);
        };
        let mut others: Vec<&mut Run> = open.values_mut().filter_map(Work::run).collect();
        let done = work.step(&self.shared.embedder, &mut others);
        open.insert(self.number, work);
        done
    }

    /// Resolves when a step can do something again, if a GPU has to answer first.
    pub fn wait(&self) -> Option<Promise> {
        self.shared.open.borrow_mut().get_mut(&self.number)?.wait()
    }

    /// The result, once all is done.
    pub fn finish(self) -> Thrown<JsValue> {
        let work = self.shared.open.borrow_mut().remove(&self.number);
        work.map_or(Ok(JsValue::UNDEFINED), Work::finish)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.shared.open.borrow_mut().remove(&self.number);
    }
}

/// Bytes of a file of a saved model, as an `ArrayBuffer`.
async fn read_saved(
    embedder: &crate::Embedder<Either>,
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

/// Acts on the next texts; true when all are done.
fn each(
    embedder: &crate::Embedder<Either>,
    texts: &mut std::vec::IntoIter<String>,
    act: &Act,
    out: &Array,
) -> Thrown<bool> {
    /// Bytes of text in a step: some milliseconds.
    const STEP: usize = 1 << 15;
    let mut bytes = 0;
    while bytes < STEP {
        let Some(text) = texts.next() else {
            return Ok(true);
        };
        bytes += text.len();
        out.push(&act(embedder, &text)?);
    }
    Ok(false)
}

/// Answers a request by its head, `{ method, path, headers }`, where that is enough, as [`http::admit`] does; else undefined.
#[wasm_bindgen]
pub fn admit(head: JsValue, options: JsValue) -> Thrown<JsValue> {
    let head: http::Request = from_js("request", head)?;
    let options: http::Options = from_js("options", options)?;
    let answer = http::admit(&head, &options);
    answer.map_or(Ok(JsValue::UNDEFINED), |answer| to_js(&answer))
}

/// The model that a request asks for, and the kind of vectors: `[model?, kind?]`.
#[wasm_bindgen]
pub fn wanted(request: &JsValue) -> Thrown<Array> {
    let incoming = incoming(request)?;
    let wanted = [incoming.model(), incoming.kind()];
    Ok(wanted.into_iter().map(JsValue::from).collect())
}

/// A request as `fetch` takes it.
fn incoming(request: &JsValue) -> Thrown<http::Incoming> {
    let mut head: http::Request = from_js("request", Reflect::get(request, &"head".into())?)?;
    head.body = Uint8Array::new(&Reflect::get(request, &"body".into())?).to_vec();
    Ok(head.into())
}

/// The body of a call in a wire format: what it would be on the wire.
fn object(body: &JsValue) -> Thrown<Body> {
    let unusable = |why: String| Error::input("body", format!("the body cannot be used: {why}"));
    let json = js_sys::JSON::stringify(body)
        .map_err(|thrown| unusable(format!("{thrown:?}")))?
        .as_string()
        .unwrap_or_default();
    Ok(Body::of(body::read(json.into_bytes()).map_err(unusable)?)?)
}

/// Texts, or token ids.
fn texts(value: JsValue) -> Thrown<Vec<Input>> {
    let reader = Reader {
        levels: 2,
        most: usize::MAX,
    };
    let value = reader.deserialize(serde_wasm_bindgen::Deserializer::from(value));
    let unusable = |error: serde_wasm_bindgen::Error| {
        Error::input("texts", format!("texts cannot be used: {error}"))
    };
    Ok(value.map_err(unusable)?.inputs("texts")?)
}

fn cutting(request: JsValue) -> Thrown<(Vec<Input>, ChunkOptions)> {
    let texts = texts(Reflect::get(&request, &"texts".into())?)?;
    let request: serde_json::Value = from_js("options", request)?;
    Ok((texts, convert::chunk_options(&request)?))
}
