//! Reads weight files while their bytes arrive.
//!
//! A [`Stream`] takes a file in chunks of any size and says which bytes belong to which tensor.
//! Formats are [`safetensors`], [`torch`] checkpoints, whose [`pickle`] is read without executing
//! anything, [`gguf`], and [`onnx`], whose graph is not executed. [`dtype`] and [`gguf`]'s blocks
//! decode bytes to f32, [`rows`] assembles rows, and [`quantized`] does so for matrices that are
//! several tensors. Memory holds the header, one row, and of a quantised matrix the tensors that
//! arrive before its rows can be decoded.

pub mod dtype;
pub mod gguf;
pub mod onnx;
pub mod pickle;
pub mod quantized;
pub mod rows;
pub mod safetensors;
pub mod torch;

use crate::error::{Error, Result};
use crate::full::Full;

/// One tensor, as a file's header describes it.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Name in the file.
    pub name: String,
    /// Element type in safetensors' spelling, or the name of ggml's block type.
    pub dtype: String,
    /// The block type of elements that are stored in blocks.
    pub block: Option<Full<gguf::Block>>,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// An earlier tensor that is a view of the same bytes in the same shape.
    pub same_as: Option<usize>,
}

/// Receives the contents of a file as they arrive.
pub trait Visitor {
    /// The header is complete.
    fn header(&mut self, tensors: &[TensorInfo]) -> Result<()>;
    /// The next bytes of tensor `index`.
    fn data(&mut self, index: usize, bytes: &[u8]) -> Result<()>;
    /// Takes the complete nodes of an ONNX graph. Returns where the tensors are in it, which
    /// [`Self::header`] describes then.
    fn graph(&mut self, _: &onnx::Graph) -> Result<onnx::Plan> {
        Err(Error::UnsupportedModel(
            "an ONNX file is of use only where it stands in for the weights of a transformer; take safetensors".to_owned(),
        ))
    }
}

/// A weight file that is being read.
pub enum Stream {
    /// Every file whose name has none of the other extensions
    Safetensors(safetensors::Stream),
    /// `.bin`, `.pt`, `.pth`
    Torch(Full<torch::Stream>),
    /// `.gguf`
    Gguf(Full<gguf::Stream>),
    /// `.onnx`
    Onnx(Full<Box<onnx::Stream>>),
}

impl Stream {
    /// An empty stream, of the format that the file's name implies. The common build reads
    /// safetensors only.
    pub fn new(file: &str) -> Result<Self> {
        Ok(if is_torch(file) {
            Self::Torch(Full::new(file, || torch::Stream::new(file))?)
        } else if gguf::is_gguf(file) {
            Self::Gguf(Full::new(file, || gguf::Stream::new(file))?)
        } else if onnx::is_onnx(file) {
            Self::Onnx(Full::new(file, || Box::new(onnx::Stream::new(file)))?)
        } else {
            Self::Safetensors(safetensors::Stream::new(file))
        })
    }

    /// Size of the whole file, if its header has arrived and says so.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Safetensors(stream) => stream.size(),
            Self::Torch(_) | Self::Onnx(_) => None,
            Self::Gguf(stream) => stream.size(),
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8], visitor: &mut dyn Visitor) -> Result<()> {
        match self {
            Self::Safetensors(stream) => stream.push(bytes, visitor),
            Self::Torch(stream) => stream.push(bytes, visitor),
            Self::Gguf(stream) => stream.push(bytes, visitor),
            Self::Onnx(stream) => stream.push(bytes, visitor),
        }
    }

    /// Checks that all the data has arrived.
    pub fn finish(&self) -> Result<()> {
        match self {
            Self::Safetensors(stream) => stream.finish(),
            Self::Torch(stream) => stream.finish(),
            Self::Gguf(stream) => stream.finish(),
            Self::Onnx(stream) => stream.finish(),
        }
    }
}

/// The index that lists the shards of a weight file, if it is split into shards.
pub fn index(path: &str) -> Option<String> {
    let name = path.rsplit('/').next();
    (name == Some("model.safetensors")).then(|| format!("{path}.index.json"))
}

/// The folder of a path, with a slash at its end.
pub fn folder(path: &str) -> &str {
    &path[..path.rfind('/').map_or(0, |slash| slash + 1)]
}

/// The ONNX files that are looked for in a folder without weights in another format, the most exact
/// first. Repositories of transformers.js have them in `onnx/`.
const ONNX: [&str; 9] = [
    "onnx/model.onnx",
    "onnx/model_fp16.onnx",
    "onnx/model_quantized.onnx",
    "onnx/model_int8.onnx",
    "onnx/model_uint8.onnx",
    "onnx/model_q4.onnx",
    "onnx/model_q4f16.onnx",
    "onnx/model_bnb4.onnx",
    "model.onnx",
];

/// The file to look for next if the weights of a model are not at `path`.
pub fn next(path: &str) -> Option<String> {
    if let Some(folder) = path.strip_suffix("pytorch_model.bin") {
        return Some(format!("{folder}{}", ONNX[0]));
    }
    // The longest name first: the last one is the end of another.
    let (at, name) = (ONNX.iter().enumerate()).find(|(_, name)| {
        let folder = path.strip_suffix(**name);
        folder.is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
    })?;
    let folder = path.strip_suffix(name)?;
    Some(format!("{folder}{}", ONNX.get(at + 1)?))
}

/// The `model.safetensors` that the weight file at `path` replaces.
pub fn usual(path: &str) -> String {
    let folder = folder(path);
    let folder = match folder.strip_suffix("onnx/") {
        Some(above) if onnx::is_onnx(path) && (above.is_empty() || above.ends_with('/')) => above,
        _ => folder,
    };
    format!("{folder}model.safetensors")
}

/// The name under which other models have the same file.
pub fn alternative(path: &str) -> Option<String> {
    let folder = folder(path);
    let name = &path[folder.len()..];
    let other = match name {
        "model.safetensors" => "pytorch_model.bin",
        "sparse_linear.safetensors" => "sparse_linear.pt",
        "colbert_linear.safetensors" => "colbert_linear.pt",
        _ => return None,
    };
    Some(format!("{folder}{other}"))
}

/// Whether a name is that of a weight file.
pub fn is_file(name: &str) -> bool {
    let path = std::path::Path::new(name);
    is_torch(name)
        || onnx::is_onnx(name)
        || path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
}

fn is_torch(file: &str) -> bool {
    let extension = std::path::Path::new(file).extension();
    extension.is_some_and(|extension| extension == "bin" || extension == "pt" || extension == "pth")
}

/// An error about the contents of a file.
pub fn invalid(file: &str, reason: String) -> Error {
    let file = file.to_owned();
    if is_torch(&file) {
        Error::InvalidTorch { file, reason }
    } else if gguf::is_gguf(&file) {
        Error::InvalidGguf { file, reason }
    } else if onnx::is_onnx(&file) {
        Error::InvalidOnnx { file, reason }
    } else {
        Error::InvalidSafetensors { file, reason }
    }
}

/// Errors if a tensor has values that are not finite.
pub fn check_finite(file: &str, tensor: &str, values: &[f32]) -> Result<()> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    let reason = format!("tensor {tensor} holds values that are not finite");
    Err(invalid(file, reason))
}

/// The shape of tensor `name` in a complete file; empty if the file does not have it.
pub fn shape_of(file: &str, bytes: &[u8], name: &str) -> Result<Vec<u64>> {
    struct Find<'a>(&'a str, Vec<u64>);
    impl Visitor for Find<'_> {
        fn header(&mut self, tensors: &[TensorInfo]) -> Result<()> {
            let found = tensors.iter().find(|tensor| tensor.name == self.0);
            self.1 = found.map_or_else(Vec::new, |tensor| tensor.shape.clone());
            Ok(())
        }
        fn data(&mut self, _: usize, _: &[u8]) -> Result<()> {
            Ok(())
        }
    }
    let mut find = Find(name, Vec::new());
    Stream::new(file)?.push(bytes, &mut find)?;
    Ok(find.1)
}
