//! What a caller can say about the model to load.

use std::collections::BTreeMap;

use crate::backend::{Pooling, WeightDtype};
use crate::model::kind::Kind;
use crate::model::load::download::Download;

/// A `LoRA` adapter, as PEFT saves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// Its name, for [`Info::lora`](crate::Info::lora).
    pub name: String,
    /// Its folder, by an absolute path or by one from the model's folder: `adapter_config.json` and
    /// `adapter_model.safetensors` are asked for there.
    pub folder: String,
}

/// A folder; a name without a slash is that of a folder in the model's own folder `adapters`.
impl From<&str> for Adapter {
    fn from(name: &str) -> Self {
        let folder = if name.contains('/') {
            name.trim_end_matches('/').to_owned()
        } else {
            format!("adapters/{name}")
        };
        Self {
            name: name.to_owned(),
            folder,
        }
    }
}

/// What to load.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The model's name, for answers and errors.
    pub model: String,
    /// Commit or branch, if known.
    pub revision: Option<String>,
    /// How to hold the weights. The default is the dtype that the model was saved in
    /// ([`Model::save`](crate::Model::save)), and q8 for models that Gossamer did not save.
    pub dtype: Option<WeightDtype>,
    /// The weight file to load, by its path in the model's folder: a GGUF file, which is a whole
    /// model, or a file to read instead of that folder's `model.safetensors`. The folder of an ONNX
    /// file in `onnx/` is the one above.
    pub file: Option<String>,
    /// A `LoRA` adapter to merge into the weights. It must have been trained on this model.
    pub adapter: Option<Adapter>,
    /// Which file of a repository to take if `file` names none. [`LoadOptions::choose`] goes by it.
    pub download: Download,
    /// Loads the model as an embedder of this kind, although its files say that it is something
    /// that is not supported: a reranker, a model with code of its own, one with tensors that
    /// nothing uses. [`Info::left_out`](crate::Info::left_out) lists what is ignored for it.
    /// Without modules.json it also selects the head: pooling, or SPLADE.
    pub kind: Option<Kind>,
    /// How token states become a vector, instead of what the model's files say or of what is
    /// assumed without modules.json. The results of several modes are concatenated.
    /// [`Pooling::list`] reads names.
    pub pooling: Option<Vec<Pooling>>,
    /// Whether vectors are normalised, instead of what the model's files say.
    pub normalize: Option<bool>,
    /// Prompts by name, instead of the model's own.
    pub prompts: Option<BTreeMap<String, String>>,
    /// The maximum number of tokens in a text, special tokens included, instead of the model's own.
    pub max_tokens: Option<usize>,
    /// Whether to keep the small files for [`Model::save`](crate::Model::save). A `tokenizer.json`
    /// may have 17 MB.
    pub saveable: bool,
}
