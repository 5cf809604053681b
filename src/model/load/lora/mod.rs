//! `LoRA` adapters (Hu et al. 2021) as PEFT writes them: `adapter_config.json` and
//! `adapter_model.safetensors`. The adapter is read first. Its two narrow matrices for a module are
//! multiplied and added while the module's rows arrive, so that no second copy of the model exists.

mod merge;
mod settings;
mod targets;

pub use self::merge::Merge;
pub use self::settings::LoraInfo;

use self::settings::Settings;
use crate::error::{Error, Result};
use crate::full::Full;
use crate::model::families::config::Config;
use crate::model::load::files::ADAPTER_CONFIG;
use crate::model::load::fingerprint::Fingerprint;
use crate::model::load::options::Adapter;
use crate::model::transformer::layout::Layout;
use crate::weights::dtype::Dtype;
use crate::weights::rows::{Encoding, Rows};
use crate::weights::{Stream, TensorInfo, Visitor, check_finite, invalid};

/// What the common build lacks, for the error.
pub const WHAT: &str = "a LoRA adapter";

/// Names of the weights in the adapter's folder, the first that is there.
const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// The most bytes of an adapter's values in f32: no more than half of what wasm can address.
const MOST_BYTES: u64 = 1 << 31;

/// The path of an adapter's settings.
pub fn config_path(adapter: &Adapter) -> String {
    format!("{}/{ADAPTER_CONFIG}", adapter.folder)
}

/// The error about an adapter that was taken for a model.
pub fn instead_of_model(bytes: &[u8], model: &str) -> Error {
    let config = Config::parse(ADAPTER_CONFIG, bytes).ok();
    let base = config.and_then(|config| {
        config
            .text("base_model_name_or_path")
            .ok()?
            .map(str::to_owned)
    });
    let base = base.unwrap_or_else(|| "its base model".to_owned());
    Error::UnsupportedModel(format!(
        "{model} is an adapter (adapter_config.json), and no model: load {base} with it as the option `adapter`"
    ))
}

/// A tensor of an adapter.
pub struct Tensor {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// An adapter whose weights are arriving.
pub struct Reading {
    name: String,
    path: String,
    settings: Settings,
    stream: Option<Stream>,
    collected: Collected,
}

/// An adapter that has been read.
pub struct Lora {
    name: String,
    path: String,
    settings: Settings,
    tensors: Vec<Tensor>,
}

impl Reading {
    /// Reads the settings.
    pub fn new(adapter: &Adapter, config: &[u8]) -> Result<Self> {
        let path = config_path(adapter);
        Ok(Self {
            name: adapter.name.clone(),
            settings: Settings::read(&Config::parse(&path, config)?)?,
            path: format!("{}/{}", adapter.folder, WEIGHTS[0]),
            stream: None,
            collected: Collected::default(),
        })
    }

    /// The file that is due.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The file is absent.
    pub fn absent(&mut self, name: &str) -> Result<()> {
        match self.path.strip_suffix(WEIGHTS[0]) {
            Some(folder) if self.stream.is_none() && name == self.path => {
                self.path = format!("{folder}{}", WEIGHTS[1]);
                Ok(())
            }
            _ => Err(Error::MissingFile(name.replace(WEIGHTS[1], WEIGHTS[0]))),
        }
    }

    /// Takes the next bytes. Returns the file's size, once its header has arrived.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<u64>> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            empty => empty.insert(Stream::new(&self.path)?),
        };
        self.collected.path.clone_from(&self.path);
        stream.push(bytes, &mut self.collected)?;
        Ok(stream.size())
    }

    /// The adapter, if all its bytes have arrived.
    pub fn finish(self) -> Result<Lora> {
        let stream = match self.stream {
            Some(stream) => stream,
            // A file without a byte is a truncated one.
            None => Stream::new(&self.path)?,
        };
        stream.finish()?;
        Ok(Lora {
            name: self.name,
            path: self.path,
            settings: self.settings,
            tensors: self.collected.tensors,
        })
    }
}

impl Lora {
    /// What is known about it.
    pub fn info(&self) -> LoraInfo {
        LoraInfo {
            adapter: self.name.clone(),
            base: self.settings.base.clone(),
            rank: self.settings.rank,
        }
    }

    /// Hash of all its tensors.
    fn fingerprint(&self) -> u64 {
        let mut sum = 0u64;
        for tensor in &self.tensors {
            let mut hash = Fingerprint::new(&tensor.name);
            hash.update(&tensor.values);
            sum = sum.wrapping_add(hash.0);
        }
        sum
    }
}

/// Keeps all tensors of a file in f32.
#[derive(Default)]
struct Collected {
    path: String,
    tensors: Vec<Tensor>,
    rows: Vec<Rows>,
}

impl Visitor for Collected {
    fn header(&mut self, tensors: &[TensorInfo]) -> Result<()> {
        let mut bytes = 0u64;
        for tensor in tensors {
            let shape: Option<Vec<usize>> = tensor
                .shape
                .iter()
                .map(|size| usize::try_from(*size).ok())
                .collect();
            let size = tensor
                .shape
                .iter()
                .try_fold(4u64, |all, size| all.checked_mul(*size));
            bytes = size.map_or(u64::MAX, |size| bytes.saturating_add(size));
            if bytes > MOST_BYTES {
                let reason =
                    format!("it has more than {MOST_BYTES} bytes in f32, which no adapter has");
                return Err(invalid(&self.path, reason));
            }
            let shape = shape.unwrap_or_default();
            let width = shape.last().copied().unwrap_or(1);
            let encoding = Dtype::of_values(&tensor.dtype).map(Encoding::Elements);
            let rows = encoding.and_then(|encoding| Rows::new(encoding, width));
            self.rows.push(rows.ok_or_else(|| Error::WrongDtype {
                tensor: tensor.name.clone(),
                dtype: tensor.dtype.clone(),
            })?);
            self.tensors.push(Tensor {
                name: tensor.name.clone(),
                shape,
                values: Vec::new(),
            });
        }
        Ok(())
    }

    fn data(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let Tensor { name, values, .. } = &mut self.tensors[index];
        let path = &self.path;
        let mut result = Ok(());
        self.rows[index].push(bytes, |_, row| {
            if result.is_ok() {
                result = check_finite(path, name, row).and_then(|()| {
                    let bytes = size_of_val(row);
                    values
                        .try_reserve(row.len())
                        .map_err(|_| Error::OutOfMemory { bytes })?;
                    values.extend_from_slice(row);
                    Ok(())
                });
            }
        });
        result
    }
}

/// Starts to read an adapter.
pub fn begin(adapter: &Adapter, config: &[u8]) -> Result<Full<Box<Reading>>> {
    Full::new(WHAT, || Reading::new(adapter, config).map(Box::new))?.transposed()
}

/// The adapter, if all its bytes have arrived.
pub fn end(reading: Full<Box<Reading>>) -> Result<Full<Lora>> {
    reading.map(|reading| reading.finish()).transposed()
}

/// Finds the places of its tensors in a model.
pub fn place(lora: Full<Lora>, layout: &Layout, is_gguf: bool) -> Result<Full<Merge>> {
    lora.map(|lora| lora.place(layout, is_gguf)).transposed()
}
