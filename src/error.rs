//! The one error of the crate. Each variant has a stable `code`, an HTTP `status`, and a sentence
//! that says what is wrong and what to do about it.

use thiserror::Error;

/// Result with the crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, from a broken file to an impossible request.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a well-formed safetensors file.
    #[error(
        "{file} is not a valid safetensors file: {reason}; download it again, or check that the URL points at the file itself"
    )]
    InvalidSafetensors {
        /// File as the source names it.
        file: String,
        /// The rule of the format that is broken.
        reason: String,
    },
    /// A torch checkpoint that cannot be read, or holds more than tensors.
    #[error(
        "{file} cannot be read as a torch checkpoint: {reason}; save its tensors as safetensors, or find the model in that format"
    )]
    InvalidTorch {
        /// Path of the file in the model.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A GGUF file that is damaged, or holds what cannot be read.
    #[error(
        "{file} cannot be read as a GGUF file: {reason}; download it again, or take another GGUF of the model, as llama.cpp's convert_hf_to_gguf.py writes it"
    )]
    InvalidGguf {
        /// File as the source names it.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// An ONNX file that is damaged, or holds what cannot be read.
    #[error(
        "{file} cannot be read as an ONNX file: {reason}; download it again, or take another ONNX file or the safetensors of the model"
    )]
    InvalidOnnx {
        /// File as the source names it.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The stream ended before the data that the header promises.
    #[error(
        "{file} ended after {got} bytes{}: the download is incomplete; load the model again",
        expected.map_or(String::new(), |expected| format!(" of {expected}"))
    )]
    TruncatedStream {
        /// File as the source names it.
        file: String,
        /// Bytes that arrived.
        got: u64,
        /// The size of the whole file, where its header tells.
        expected: Option<u64>,
    },
    /// A file is not the one whose hash the caller gave.
    #[error(
        "{file} has the SHA-256 {got}, not {expected}: it was damaged on its way or is another version; load it again, or pin the hash of the version that you want"
    )]
    WrongHash {
        /// File as the source names it.
        file: String,
        /// The hash of what arrived.
        got: String,
        /// The one that was asked for.
        expected: String,
    },
    /// The model needs tensors that the checkpoint does not have.
    #[error(
        "{file} lacks tensors that the model's config asks for: {missing}; it holds {present}; check that config.json belongs to this checkpoint"
    )]
    MissingTensor {
        /// File as the source names it.
        file: String,
        /// The first few names that are missing.
        missing: String,
        /// The first few names that the file has and the model does not use.
        present: String,
    },
    /// The checkpoint has layers that the config does not.
    #[error(
        "{file} holds tensors of layers that the model's config does not have: {unexpected}; the config has {layers} layers; check that config.json belongs to this checkpoint"
    )]
    UnexpectedTensor {
        /// File as the source names it.
        file: String,
        /// The first few names that are too many.
        unexpected: String,
        /// Layers that the config has.
        layers: usize,
    },
    /// A tensor's shape does not fit the config.
    #[error(
        "tensor {tensor} has shape {got:?} where config.json makes it {expected:?}; check that config.json belongs to this checkpoint"
    )]
    WrongShape {
        /// Name in the file.
        tensor: String,
        /// Shape in the file.
        got: Vec<u64>,
        /// Shape that the config asks for.
        expected: Vec<usize>,
    },
    /// A tensor's dtype cannot be read.
    #[error(
        "tensor {tensor} has dtype {dtype}; F64, F32, F16, BF16 and F8 can be read: convert the checkpoint to one of them"
    )]
    WrongDtype {
        /// Name in the file.
        tensor: String,
        /// Dtype as the file spells it.
        dtype: String,
    },
    /// A configuration file is malformed, or a value in it impossible.
    #[error("{file}: {reason}")]
    InvalidConfig {
        /// File as the source names it.
        file: String,
        /// Which field, what it holds, which values work.
        reason: String,
    },
    /// A well-formed model of a kind that is not supported.
    #[error("{0}")]
    UnsupportedModel(String),
    /// tokenizer.json cannot be used.
    #[error("tokenizer.json cannot be used: {0}")]
    InvalidTokenizer(String),
    /// The source has no such file, and the model cannot do without it.
    #[error(
        "the model has no {0}; check the model's address: a complete model has config.json, tokenizer.json and model.safetensors"
    )]
    MissingFile(String),
    /// A request that cannot be understood.
    #[error("{reason}")]
    InvalidInput {
        /// What is wrong and what would work.
        reason: String,
        /// The field at fault.
        param: &'static str,
    },
    /// Nothing to embed.
    #[error("{0}")]
    EmptyInput(String),
    /// More inputs than one request may hold.
    #[error("{got} inputs in one request, {limit} are allowed; send them in several requests")]
    TooManyInputs {
        /// Inputs in the request.
        got: usize,
        /// The most that one request may hold.
        limit: usize,
    },
    /// A token id outside the vocabulary.
    #[error(
        "token id {id} is not in the vocabulary of {size} entries; use ids of this model's own tokenizer, or send texts (in LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False)"
    )]
    TokenOutOfRange {
        /// The id.
        id: u64,
        /// Rows of the embedding table.
        size: usize,
    },
    /// A number that is too large for a token id of any vocabulary.
    #[error(
        "token id {id} is larger than those of any vocabulary; use ids of this model's own tokenizer, or send texts (in LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False)"
    )]
    TokenTooLarge {
        /// The number as it was sent.
        id: String,
    },
    /// Token ids without the special tokens that the model's tokenizer adds.
    #[error(
        "input {index} has token ids without this model's special tokens ({expected}), so they are not of its tokenizer; send texts (in LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False), or ids with these"
    )]
    ForeignTokens {
        /// Position in the request.
        index: usize,
        /// The tokens that belong around each text.
        expected: String,
    },
    /// `dimensions` is zero or more than the model has.
    #[error("dimensions is {got}; this model gives vectors of 1 to {limit} dimensions")]
    InvalidDimensions {
        /// The value asked for.
        got: u64,
        /// The model's own number of dimensions.
        limit: usize,
    },
    /// The model has no prompt of this name.
    #[error("the model has no prompt named {name:?}; it has {known}")]
    UnknownPrompt {
        /// The name asked for.
        name: String,
        /// The names that the model has.
        known: String,
    },
    /// A text that is too long, where truncation was not asked for.
    #[error(
        "input {index} has {tokens} tokens, the model takes {limit}; shorten it, or pass `truncate: true`"
    )]
    InputTooLong {
        /// Position in the request.
        index: usize,
        /// Its tokens, special tokens included.
        tokens: usize,
        /// The most that the model takes.
        limit: usize,
    },
    /// A text of more characters than are read, where truncation was not asked for.
    #[error(
        "input {index} has {characters} characters, of which at most {limit} are read; shorten it, or pass `truncate: true`"
    )]
    TextTooLong {
        /// Position in the request.
        index: usize,
        /// Its characters.
        characters: usize,
        /// The most that are read.
        limit: usize,
    },
    /// An answer of more numbers than one may have.
    #[error(
        "the first {inputs} inputs have {tokens} tokens of {dimensions} numbers each, and an answer has at most {limit} numbers; send fewer or shorter texts at a time"
    )]
    AnswerTooLarge {
        /// Inputs that were counted.
        inputs: usize,
        /// Their tokens.
        tokens: usize,
        /// Numbers of a token's vector.
        dimensions: usize,
        /// The most numbers of an answer.
        limit: usize,
    },
    /// A dense vector asked of a sparse model, or the reverse.
    #[error("{model} is a {kind} model; {advice}")]
    WrongModelKind {
        /// The model's name.
        model: String,
        /// What it is.
        kind: &'static str,
        /// The call that works.
        advice: &'static str,
    },
    /// An allocation failed.
    #[error(
        "no memory for {bytes} more bytes; use a smaller model, dtype q8, or fewer and shorter texts at a time"
    )]
    OutOfMemory {
        /// Size of the allocation that failed.
        bytes: usize,
    },
    /// There is no GPU, or none that may be used.
    #[error(
        "there is no GPU that can be used ({0}); choose device \"cpu\", or \"auto\", which takes a GPU only where there is one"
    )]
    NoGpu(String),
    /// The GPU is gone: its driver was restarted, or the system took it.
    #[error("the GPU was lost ({0}); load the model again, or choose device \"cpu\"")]
    GpuLost(String),
    /// The GPU's vectors are not the CPU's.
    #[error(
        "this GPU ({adapter}) computes wrongly: the vectors of a fixed text have a cosine of {cosine:.4} to the CPU's, which should be {least} at the least; update the driver or the browser, or choose device \"cpu\""
    )]
    GpuWrong {
        /// The GPU's name.
        adapter: String,
        /// What it is.
        cosine: f64,
        /// What it should be.
        least: f64,
    },
    /// The GPU has no memory left.
    #[error(
        "the GPU has no room for {bytes} bytes beside the {taken} that the model takes already; use a smaller model, dtype \"q8\" or \"q4\", shorter texts, or device \"cpu\""
    )]
    GpuMemory {
        /// What was needed.
        bytes: u64,
        /// Bytes of all buffers so far.
        taken: u64,
    },
    /// More than the GPU can take in one piece.
    #[error(
        "{bytes} bytes are more than the {limit} that this GPU takes in one piece; shorten the texts, or choose device \"cpu\""
    )]
    GpuLimit {
        /// What was needed.
        bytes: u64,
        /// What there may be at most.
        limit: u64,
    },
    /// The model or the device needs a part that this build of the crate was made without.
    #[error(
        "{0} is not in the common build of this library; take the full one (in Rust the feature `full`, in JavaScript gossamer-embed/wasm/simd128.wasm or relaxed.wasm)"
    )]
    NeedsFullBuild(String),
    /// A call sequence that the interface forbids, or a defect of this library.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Stable, machine-readable name of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidSafetensors { .. } => "invalid_safetensors",
            Self::InvalidTorch { .. } => "invalid_torch",
            Self::InvalidGguf { .. } => "invalid_gguf",
            Self::InvalidOnnx { .. } => "invalid_onnx",
            Self::TruncatedStream { .. } => "truncated_stream",
            Self::WrongHash { .. } => "wrong_hash",
            Self::MissingTensor { .. } => "missing_tensor",
            Self::UnexpectedTensor { .. } => "unexpected_tensor",
            Self::WrongShape { .. } => "wrong_shape",
            Self::WrongDtype { .. } => "wrong_dtype",
            Self::InvalidConfig { .. } => "invalid_config",
            Self::UnsupportedModel(_) => "unsupported_model",
            Self::InvalidTokenizer(_) => "invalid_tokenizer",
            Self::MissingFile(_) => "missing_file",
            Self::InvalidInput { .. } => "invalid_input",
            Self::EmptyInput(_) => "empty_input",
            Self::TooManyInputs { .. } => "too_many_inputs",
            Self::TokenOutOfRange { .. } | Self::TokenTooLarge { .. } => "token_out_of_range",
            Self::InvalidDimensions { .. } => "invalid_dimensions",
            Self::UnknownPrompt { .. } => "unknown_prompt",
            Self::ForeignTokens { .. } => "foreign_tokens",
            Self::InputTooLong { .. } | Self::TextTooLong { .. } => "input_too_long",
            Self::AnswerTooLarge { .. } => "answer_too_large",
            Self::WrongModelKind { .. } => "wrong_model_kind",
            Self::OutOfMemory { .. } | Self::GpuMemory { .. } | Self::GpuLimit { .. } => {
                "out_of_memory"
            }
            Self::NoGpu(_) => "no_gpu",
            Self::GpuLost(_) => "gpu_lost",
            Self::GpuWrong { .. } => "gpu_wrong",
            Self::NeedsFullBuild(_) => "needs_full_build",
            Self::Internal(_) => "internal",
        }
    }

    /// The HTTP status that a server would answer with.
    pub fn status(&self) -> u16 {
        match self {
            Self::InvalidInput { .. }
            | Self::EmptyInput(_)
            | Self::TooManyInputs { .. }
            | Self::TokenOutOfRange { .. }
            | Self::TokenTooLarge { .. }
            | Self::InvalidDimensions { .. }
            | Self::UnknownPrompt { .. }
            | Self::ForeignTokens { .. }
            | Self::InputTooLong { .. }
            | Self::TextTooLong { .. }
            | Self::WrongModelKind { .. } => 400,
            Self::AnswerTooLarge { .. } => 413,
            Self::MissingFile(_) => 404,
            Self::InvalidSafetensors { .. }
            | Self::InvalidTorch { .. }
            | Self::InvalidGguf { .. }
            | Self::InvalidOnnx { .. }
            | Self::TruncatedStream { .. }
            | Self::WrongHash { .. }
            | Self::MissingTensor { .. }
            | Self::UnexpectedTensor { .. }
            | Self::WrongShape { .. }
            | Self::WrongDtype { .. }
            | Self::InvalidConfig { .. }
            | Self::UnsupportedModel(_)
            | Self::InvalidTokenizer(_) => 422,
            Self::NoGpu(_) | Self::GpuWrong { .. } | Self::NeedsFullBuild(_) => 501,
            Self::GpuLost(_) => 503,
            Self::OutOfMemory { .. } | Self::GpuMemory { .. } | Self::GpuLimit { .. } => 507,
            Self::Internal(_) => 500,
        }
    }

    /// An [`Error::InvalidInput`] about `param`.
    pub(crate) fn input(param: &'static str, reason: impl Into<String>) -> Self {
        Self::InvalidInput {
            reason: reason.into(),
            param,
        }
    }

    /// An [`Error::InvalidConfig`] about `file`.
    pub(crate) fn config(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidConfig {
            file: file.into(),
            reason: reason.into(),
        }
    }
}

/// An empty vector with room for `len` elements, or [`Error::OutOfMemory`].
pub(crate) fn room<T>(len: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(len)
        .map_err(|_| Error::OutOfMemory {
            bytes: len.saturating_mul(size_of::<T>()),
        })?;
    Ok(values)
}

/// A zeroed vector, where there is memory for it.
pub(crate) fn zeroed<T: Clone + Copy + bytemuck::Zeroable>(len: usize) -> Result<Vec<T>> {
    let mut values = room(len)?;
    values.resize(len, T::zeroed());
    Ok(values)
}
