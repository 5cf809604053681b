//! What JavaScript sees: thin wrappers, no logic. The npm package's TypeScript builds its public
//! interface on these.

mod convert;
mod job;
mod max_sim;
mod model;
mod pairs;
mod request;

use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::*;

use self::convert::{Thrown, from_js, to_js};
use self::model::Model;
use self::request::incoming;
use crate::api::http;
use crate::error::Error;
use crate::{Either, Gpu, Kind, LoadOptions, Pooling, Threads, WeightDtype};

/// Whether this is the full build: the common one does not export it.
#[cfg(feature = "full")]
#[wasm_bindgen(js_name = isFull)]
pub fn is_full() -> bool {
    true
}

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
    /// `options`: see `convert::LoadRequest`. With a GPU the weights go there, and if `both`, the
    /// CPU has them too.
    #[wasm_bindgen(constructor)]
    pub fn new(options: JsValue, gpu: Option<GpuDevice>, both: bool) -> Thrown<Self> {
        let options: convert::LoadRequest = from_js("options", options)?;
        let dtype = match options.dtype.as_deref() {
            None | Some("auto") => None,
            Some(name) => Some(WeightDtype::from_name(name).ok_or_else(|| {
                let reason = format!(
                    "dtype is {name:?}; it must be \"auto\", \"f32\", \"f16\", \"q8\", \"q6\" or \"q4\""
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
            // The package chooses the file, before there is a loader.
            download: crate::Download::Auto,
            kind: options.kind.as_deref().map(Kind::from_name).transpose()?,
            adapter: options.adapter.map(|adapter| crate::Adapter {
                name: adapter.name,
                folder: adapter.folder,
            }),
            pooling: options
                .pooling
                .map(|names| Pooling::list(&names))
                .transpose()?,
            normalize: options.normalize,
            prompts: options.prompts,
            max_tokens: options.max_tokens,
            saveable: options.saveable,
        };
        let backend = match gpu {
            Some(GpuDevice(gpu)) => Either::gpu(gpu, both),
            None => Either::cpu(Threads::default()),
        };
        let mut loader = crate::Loader::new(backend, options);
        for (file, hash) in &pins {
            loader.pin(file, hash)?;
        }
        Ok(Self(loader))
    }

    /// What is needed next: `{ need: "small", files }`, `{ need: "stream", file, files }` or
    /// `{ need: "ready" }`.
    pub fn next(&mut self) -> Thrown<JsValue> {
        to_js(&convert::LoadStep::from(self.0.next()?))
    }

    /// Takes a small file, or nothing if the source does not have a file that was asked for.
    pub fn provide(&mut self, name: &str, bytes: Option<Vec<u8>>) -> Thrown<()> {
        Ok(self.0.provide(name, bytes)?)
    }

    /// Takes the next bytes of the current weight file, in any chunking. Returns the file's size in
    /// bytes once it is known.
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
        Ok(Model::new(self.0.finish()?))
    }
}

/// Answers a request by its head, `{ method, path, headers }`, where that is enough, as
/// [`http::admit`] does; else undefined.
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
