//! Loads a model. The caller fetches the files, from the Hub, a folder, a bucket or elsewhere, and
//! the loader says which:
//!
//! ```text
//! loop {
//!     match loader.next()? {
//!         Step::Small(names) => provide(name, bytes or None) for each of them,
//!         Step::Stream { file, .. } => push(bytes) in any chunking, then end(); or provide(file, None),
//!         Step::Ready => break finish(),
//!     }
//! }
//! ```
//!
//! The stages are small files, then weights. A GGUF file ([`LoadOptions::file`]) is a whole model:
//! its header takes the place of the small files, and its data are the weights. An adapter
//! ([`LoadOptions::adapter`]) comes before both.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::full::{self, Full};
use crate::model::embedder::Embedder;
use crate::model::load::arrival::{Arrival, Pins};
use crate::model::load::discovery;
use crate::model::load::files::{Files, MODEL_SETTINGS};
use crate::model::load::finish;
use crate::model::load::gguf as gguf_files;
use crate::model::load::lora::{self, Lora};
use crate::model::load::options::LoadOptions;
use crate::model::load::pipeline;
use crate::model::load::plan::Plan;
use crate::model::load::step::{Step, misuse};
use crate::model::load::streaming::Streaming;
use crate::weights::{self, Stream, gguf};

/// A model that is being loaded.
pub struct Loader<B: Backend> {
    backend: B,
    options: LoadOptions,
    pins: Pins,
    /// Small files that are known.
    files: Files,
    stage: Stage<B>,
    /// The weight file that is arriving.
    arrival: Option<Arrival>,
    /// The adapter to merge, once it has been read.
    lora: Option<Full<Lora>>,
}

/// How far loading is.
enum Stage<B: Backend> {
    /// Small files are read.
    Small,
    /// An adapter is read.
    Adapter(Full<Box<lora::Reading>>),
    /// The header of a file that is a whole model is read.
    Header(Full<gguf::Stream>),
    /// Weights are read.
    Weights(Box<Streaming<B>>),
}

impl<B: Backend> Loader<B> {
    /// Nothing loaded yet.
    pub fn new(backend: B, options: LoadOptions) -> Self {
        Self {
            backend,
            options,
            pins: Pins::default(),
            files: Files::default(),
            stage: Stage::Small,
            arrival: None,
            lora: None,
        }
    }

    /// Refuses the file unless it has this SHA-256, in hexadecimal.
    pub fn pin(&mut self, file: &str, sha256: &str) -> Result<()> {
        self.pins.insert(file, sha256)
    }

    /// What is needed next. The answer is the same until the caller has acted on it.
    #[expect(
        clippy::should_implement_trait,
        reason = "the caller has to act between two steps"
    )]
    pub fn next(&mut self) -> Result<Step> {
        if let Stage::Small = self.stage {
            let unknown = self.begin()?;
            if !unknown.is_empty() {
                return Ok(Step::Small(unknown));
            }
        }
        Ok(match &self.stage {
            Stage::Weights(streaming) => streaming.next(),
            Stage::Adapter(reading) => Step::Stream {
                files: vec![reading.path().to_owned()],
                file: reading.path().to_owned(),
            },
            Stage::Small | Stage::Header(_) => {
                let file = self.options.file.clone().unwrap_or_default();
                Step::Stream {
                    files: vec![file.clone()],
                    file,
                }
            }
        })
    }

    /// Small files that are still to be asked for. If there are none, the next stage begins.
    fn begin(&mut self) -> Result<Vec<String>> {
        if let Some(adapter) = self
            .options
            .adapter
            .as_ref()
            .filter(|_| self.lora.is_none())
        {
            full::need(lora::WHAT)?;
            let path = lora::config_path(adapter);
            if !self.files.is_known(&path) {
                return Ok(vec![path]);
            }
            let reading = lora::begin(adapter, self.files.required(&path)?)?;
            self.stage = Stage::Adapter(reading);
            self.files.retain(|name| name != path);
            return Ok(Vec::new());
        }
        if let Some(file) = &self.options.file {
            check_path(file)?;
            if gguf::is_gguf(file) {
                let stream = Full::new(file, || gguf::Stream::new(file))?;
                self.stage = Stage::Header(stream);
                return Ok(Vec::new());
            }
        }
        let unknown = discovery::unknown_files(&self.files)?;
        if unknown.is_empty() {
            let lora = self.lora.take();
            let mut plan = Plan::new(&self.backend, &mut self.files, &self.options, lora)?;
            if let Some(file) = &self.options.file {
                plan.replace_weights(file)?;
            }
            self.forget_files();
            self.stage = Stage::Weights(Box::new(Streaming::new(plan)));
        }
        Ok(unknown)
    }

    /// Forgets the small files that the plan has read, unless they are needed for saving. The
    /// model's settings are still to be read.
    fn forget_files(&mut self) {
        let saveable = self.options.saveable;
        self.files
            .retain(|name| name == MODEL_SETTINGS || (saveable && !weights::is_file(name)));
    }

    /// Takes a small file, or `None` if the source does not have a file that was asked for. It is
    /// an error if the model cannot do without it.
    pub fn provide(&mut self, name: &str, bytes: Option<Vec<u8>>) -> Result<()> {
        if let Some(bytes) = &bytes {
            self.pins.check(name, bytes)?;
        }
        match &mut self.stage {
            Stage::Small => {
                self.files.insert(name, bytes);
                Ok(())
            }
            Stage::Adapter(reading) => match bytes {
                None => reading.absent(name),
                Some(_) => Err(misuse(name)),
            },
            Stage::Header(_) => Err(Error::MissingFile(name.to_owned())),
            Stage::Weights(streaming) => streaming.provide(name, bytes.as_deref()),
        }
    }

    /// Takes the next bytes of the current weight file. Returns the file's size, once its header
    /// has arrived and if the format states it.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<u64>> {
        self.arrival()?.update(bytes)?;
        let bytes = self.read_header(bytes)?;
        match &mut self.stage {
            Stage::Weights(streaming) => streaming.push(&self.backend, bytes),
            Stage::Adapter(reading) => reading.push(bytes),
            Stage::Small | Stage::Header(_) => Ok(None),
        }
    }

    /// The weight file that is arriving.
    fn arrival(&mut self) -> Result<&mut Arrival> {
        let due = match &self.stage {
            Stage::Small => None,
            Stage::Adapter(reading) => Some(reading.path()),
            Stage::Header(_) => self.options.file.as_deref(),
            Stage::Weights(streaming) => streaming.due(),
        };
        let due = due.ok_or_else(|| misuse("bytes of a weight file"))?;
        let pins = &self.pins;
        Ok(self.arrival.get_or_insert_with(|| Arrival::new(due, pins)))
    }

    /// Reads the header of a file that is a whole model, and plans once it is complete. Returns the
    /// bytes after the header.
    fn read_header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let Stage::Header(stream) = &mut self.stage else {
            return Ok(bytes);
        };
        let (taken, metadata) = stream.open(bytes)?;
        let Some(metadata) = metadata else {
            return Ok(&bytes[taken..]);
        };
        let name = metadata.file().to_owned();
        let mut files = gguf_files::files(&metadata, stream)?;
        drop(metadata);
        let lora = self.lora.take();
        let plan = Plan::new(&self.backend, &mut files, &self.options, lora);
        let plan = plan.map_err(|error| gguf_files::explain(&name, error))?;
        self.files = files;
        self.forget_files();
        if let Stage::Header(stream) = std::mem::replace(&mut self.stage, Stage::Small) {
            let streaming = Streaming::resume(plan, name, Stream::Gguf(stream))?;
            self.stage = Stage::Weights(Box::new(streaming));
        }
        Ok(&bytes[taken..])
    }

    /// Ends the current weight file.
    pub fn end(&mut self) -> Result<()> {
        self.arrival()?;
        match &mut self.stage {
            Stage::Small => {}
            Stage::Adapter(_) => {
                if let Stage::Adapter(reading) = std::mem::replace(&mut self.stage, Stage::Small) {
                    self.lora = Some(lora::end(reading)?);
                }
            }
            Stage::Header(stream) => stream.finish()?,
            Stage::Weights(streaming) => streaming.end()?,
        }
        let arrival = self.arrival.take();
        arrival.map_or(Ok(()), |arrival| arrival.finish(&self.pins))
    }

    /// The model, once [`Step::Ready`] is next.
    pub fn finish(self) -> Result<Embedder<B>> {
        let plan = match self.stage {
            Stage::Weights(streaming) => streaming.into_plan(),
            Stage::Small | Stage::Adapter(_) | Stage::Header(_) => None,
        };
        let plan = plan.ok_or_else(|| misuse("the end"))?;
        finish::embedder(self.backend, self.options, self.files, plan)
    }
}

/// Refuses what cannot be the path of a weight file in the model's folder.
fn check_path(file: &str) -> Result<()> {
    if (gguf::is_gguf(file) || weights::is_file(file)) && pipeline::is_folder(file) {
        return Ok(());
    }
    let reason = format!(
        "file is {file:?}; it must be the path of a weight file in the model's folder, such as \"model-Q8_0.gguf\" or \"model.fp16.safetensors\""
    );
    Err(Error::input("file", reason))
}
