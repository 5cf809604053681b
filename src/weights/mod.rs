//! Reads weight files while their bytes arrive.
//!
//! A [`Stream`] takes a file in chunks of any size and says which bytes belong to which tensor.
//! Formats are [`safetensors`], [`torch`] checkpoints, whose [`pickle`] is read without executing
//! anything, and [`gguf`]. [`dtype`] and [`gguf`]'s blocks decode bytes to f32, [`rows`] assembles
//! rows, and [`quantized`] does so for matrices that are several tensors. Memory holds the header,
//! one row, and of a quantised matrix the tensors that arrive before its rows can be decoded.

pub mod dtype;
pub mod gguf;
pub mod pickle;
pub mod quantized;
pub mod rows;
pub mod safetensors;
pub mod torch;

use crate::error::{Error, Result};

/// One tensor, as a file's header describes it.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Name in the file.
    pub name: String,
    /// Element type in safetensors' spelling, or the name of ggml's block type.
    pub dtype: String,
    /// The block type of elements that are stored in blocks.
    pub block: Option<gguf::Block>,
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
}

/// A weight file that is being read.
pub enum Stream {
    /// Every file whose name has none of the other extensions
    Safetensors(safetensors::Stream),
    /// `.bin`, `.pt`, `.pth`
    Torch(torch::Stream),
    /// `.gguf`
    Gguf(gguf::Stream),
}

impl Stream {
    /// An empty stream, of the format that the file's name implies.
    pub fn new(file: &str) -> Self {
        if is_torch(file) {
            Self::Torch(torch::Stream::new(file))
        } else if gguf::is_gguf(file) {
            Self::Gguf(gguf::Stream::new(file))
        } else {
            Self::Safetensors(safetensors::Stream::new(file))
        }
    }

    /// Size of the whole file, if its header has arrived and says so.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Safetensors(stream) => stream.size(),
            Self::Torch(_) => None,
            Self::Gguf(stream) => stream.size(),
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8], visitor: &mut impl Visitor) -> Result<()> {
        match self {
            Self::Safetensors(stream) => stream.push(bytes, visitor),
            Self::Torch(stream) => stream.push(bytes, visitor),
            Self::Gguf(stream) => stream.push(bytes, visitor),
        }
    }

    /// Checks that all the data has arrived.
    pub fn finish(&self) -> Result<()> {
        match self {
            Self::Safetensors(stream) => stream.finish(),
            Self::Torch(stream) => stream.finish(),
            Self::Gguf(stream) => stream.finish(),
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
    Stream::new(file).push(bytes, &mut find)?;
    Ok(find.1)
}
