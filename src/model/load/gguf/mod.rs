//! Turns the header of a GGUF file into the files that other models have (config.json,
//! tokenizer.json and sentence-transformers' own), and the names of its tensors into those of the
//! families.

mod names;
mod tokenizer;

use serde_json::{Value, json};

use self::names::Names;
use crate::error::{Error, Result};
use crate::model::load::files::Files;
use crate::weights::TensorInfo;
use crate::weights::gguf::{Metadata, Stream};

/// An architecture of llama.cpp that one of the families implements.
struct Architecture {
    name: &'static str,
    /// Builds config.json.
    config: fn(&Source) -> Result<Value>,
    names: &'static Names,
    /// Whether attention is causal. Files state it only if it is unusual for the architecture.
    causal: bool,
    /// The pooling mode of files that do not state one.
    pooling: &'static str,
}

const ARCHITECTURES: [Architecture; 4] = [
    Architecture {
        name: "bert",
        config: bert,
        names: &names::BERT,
        causal: false,
        pooling: "mean",
    },
    // DistilBERT has the same name in files, but no token types.
    Architecture {
        name: "bert",
        config: distilbert,
        names: &names::DISTILBERT,
        causal: false,
        pooling: "mean",
    },
    Architecture {
        name: "nomic-bert",
        config: nomic_bert,
        names: &names::NOMIC_BERT,
        causal: false,
        pooling: "mean",
    },
    Architecture {
        name: "qwen3",
        config: qwen3,
        names: &names::QWEN3,
        causal: true,
        pooling: "lasttoken",
    },
];

/// What the small files are built from.
struct Source<'a> {
    metadata: &'a Metadata,
    tensors: &'a [TensorInfo],
    architecture: &'static str,
}

/// Builds the small files once the header has arrived, and renames the tensors of `stream` as the
/// family spells them.
pub(super) fn files(metadata: &Metadata, stream: &mut Stream) -> Result<Files> {
    if let Some(parts @ 2..) = metadata.size("split.count")? {
        return Err(Error::UnsupportedModel(format!(
            "{} is one of {parts} files of a model; join them with llama-gguf-split --merge",
            metadata.file()
        )));
    }
    if let Some(other) = metadata
        .text("general.type")?
        .filter(|kind| *kind != "model")
    {
        return Err(Error::UnsupportedModel(format!(
            "{} is a file of type {other:?} (general.type), and no model by itself; take the model's own GGUF file",
            metadata.file()
        )));
    }
    // Files of decoders often say by their name alone that they are rerankers.
    for key in ["general.name", "general.basename"] {
        let name = metadata.text(key)?.unwrap_or_default();
        if name.to_ascii_lowercase().contains("rerank") {
            return Err(Error::UnsupportedModel(format!(
                "{} is called {name:?} ({key}): a reranker, and rerankers in GGUF files are not supported; load the model from its safetensors",
                metadata.file()
            )));
        }
    }
    let wanted = metadata.text("general.architecture")?;
    let tensors = stream.tensors();
    let has_types = tensors
        .iter()
        .any(|tensor| tensor.name == "token_types.weight");
    let mut named = ARCHITECTURES
        .iter()
        .filter(|architecture| Some(architecture.name) == wanted);
    let first = named.next().ok_or_else(|| unknown(metadata, wanted))?;
    let architecture = named.next().filter(|_| !has_types).unwrap_or(first);
    let source = Source {
        metadata,
        tensors,
        architecture: architecture.name,
    };
    let causal = metadata.flag(&source.key("attention.causal"))?;
    if causal.is_some_and(|causal| causal != architecture.causal) {
        let reason = format!(
            "{} is a model of architecture {} in which tokens see {}, which is not supported",
            metadata.file(),
            architecture.name,
            if architecture.causal {
                "all others"
            } else {
                "only those before them"
            }
        );
        return Err(Error::UnsupportedModel(reason));
    }
    let config = (architecture.config)(&source)?;
    let max_tokens = source.size("context_length")?;
    let pooling = source.pooling(architecture.pooling)?;
    let tokenizer = tokenizer::json(metadata, source.rows("token_embd.weight")?)?;
    // llama.cpp normalises all vectors.
    let modules = json!([
        { "path": "", "type": "sentence_transformers.models.Transformer" },
        { "path": "1_Pooling", "type": "sentence_transformers.models.Pooling" },
        { "path": "2_Normalize", "type": "sentence_transformers.models.Normalize" },
    ]);
    let mut files = Files::default();
    for (name, value) in [
        ("config.json", config),
        ("modules.json", modules),
        ("1_Pooling/config.json", json!({ "pooling_mode": pooling })),
        // tokenizer.json is complete, so no class must rebuild it.
        (
            "tokenizer_config.json",
            json!({ "tokenizer_class": "PreTrainedTokenizerFast" }),
        ),
        (
            "sentence_bert_config.json",
            json!({ "max_seq_length": max_tokens }),
        ),
    ] {
        files.insert(name, Some(value.to_string().into_bytes()));
    }
    files.insert("tokenizer.json", Some(tokenizer));
    stream.rename(|name| architecture.names.family(name));
    Ok(files)
}

/// Restates an error about a file that was built here as one about the GGUF file.
pub(super) fn explain(file: &str, error: Error) -> Error {
    let file = file.to_owned();
    match error {
        Error::InvalidConfig {
            file: made,
            reason: wrong,
        } => Error::InvalidGguf {
            file,
            reason: format!("its keys amount to a {made} in which {wrong}"),
        },
        Error::InvalidTokenizer(wrong) => Error::InvalidGguf {
            file,
            reason: format!("its tokenizer cannot be used: {wrong}"),
        },
        other => other,
    }
}

fn unknown(metadata: &Metadata, architecture: Option<&str>) -> Error {
    match architecture {
        None => metadata.invalid("it lacks the key general.architecture"),
        Some(other) => {
            let mut known: Vec<_> = ARCHITECTURES.iter().map(|known| known.name).collect();
            known.dedup();
            Error::UnsupportedModel(format!(
                "{} is a model of architecture {other:?}, which is not supported in GGUF files; supported are: {}; load the model from its safetensors",
                metadata.file(),
                known.join(", ")
            ))
        }
    }
}

impl Source<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn lacks(&self, name: &str) -> Error {
        let key = self.key(name);
        self.metadata.invalid(format!("it lacks the key {key}"))
    }

    /// A whole number under a key of the architecture.
    fn size(&self, name: &str) -> Result<u64> {
        let size = self.metadata.size(&self.key(name))?;
        size.ok_or_else(|| self.lacks(name))
    }

    /// A number under a key of the architecture.
    fn number(&self, name: &str) -> Result<f64> {
        let number = self.metadata.number(&self.key(name))?;
        number.ok_or_else(|| self.lacks(name))
    }

    /// Rows of a matrix.
    fn rows(&self, tensor: &str) -> Result<u64> {
        let found = self.tensors.iter().find(|other| other.name == tensor);
        match found.map(|tensor| tensor.shape.as_slice()) {
            Some([rows, _]) => Ok(*rows),
            Some(shape) => Err(self
                .metadata
                .invalid(format!("tensor {tensor} has the shape {shape:?}"))),
            None => Err(self
                .metadata
                .invalid(format!("it lacks the tensor {tensor}"))),
        }
    }

    fn pooling(&self, default: &'static str) -> Result<&'static str> {
        match self.metadata.size(&self.key("pooling_type"))? {
            None => Ok(default),
            Some(1) => Ok("mean"),
            Some(2) => Ok("cls"),
            Some(3) => Ok("lasttoken"),
            Some(other) => Err(Error::UnsupportedModel(format!(
                "{} has the pooling type {other}; 1 (mean), 2 (the first token) and 3 (the last) are supported: 0 is no embedding model, and 4 a reranker",
                self.metadata.file()
            ))),
        }
    }

    /// Refuses scaled rotary positions.
    fn plain_rope(&self) -> Result<()> {
        match self.metadata.text(&self.key("rope.scaling.type"))? {
            None | Some("none") => Ok(()),
            Some(other) => Err(Error::UnsupportedModel(format!(
                "{} scales rotary positions by {other}, which is not supported",
                self.metadata.file()
            ))),
        }
    }
}

fn bert(source: &Source) -> Result<Value> {
    Ok(json!({
        "model_type": "bert",
        "vocab_size": source.rows("token_embd.weight")?,
        "hidden_size": source.size("embedding_length")?,
        "intermediate_size": source.size("feed_forward_length")?,
        "num_hidden_layers": source.size("block_count")?,
        "num_attention_heads": source.size("attention.head_count")?,
        "layer_norm_eps": source.number("attention.layer_norm_epsilon")?,
        // Positions begin at 0 for RoBERTa, too: conversion removes the rows before the first
        // position.
        "max_position_embeddings": source.rows("position_embd.weight")?,
        "type_vocab_size": source.rows("token_types.weight")?,
    }))
}

fn distilbert(source: &Source) -> Result<Value> {
    Ok(json!({
        "model_type": "distilbert",
        "vocab_size": source.rows("token_embd.weight")?,
        "dim": source.size("embedding_length")?,
        "hidden_dim": source.size("feed_forward_length")?,
        "n_layers": source.size("block_count")?,
        "n_heads": source.size("attention.head_count")?,
        "max_position_embeddings": source.rows("position_embd.weight")?,
    }))
}

fn nomic_bert(source: &Source) -> Result<Value> {
    source.plain_rope()?;
    let positions = source.size("context_length")?;
    Ok(json!({
        "model_type": "nomic_bert",
        "vocab_size": source.rows("token_embd.weight")?,
        "n_embd": source.size("embedding_length")?,
        "n_inner": source.size("feed_forward_length")?,
        "n_layer": source.size("block_count")?,
        "n_head": source.size("attention.head_count")?,
        "layer_norm_epsilon": source.number("attention.layer_norm_epsilon")?,
        "activation_function": "swiglu",
        "rotary_emb_base": source.number("rope.freq_base")?,
        "n_positions": positions,
        "max_trained_positions": positions,
        "type_vocab_size": source.rows("token_types.weight")?,
    }))
}

fn qwen3(source: &Source) -> Result<Value> {
    source.plain_rope()?;
    let head_dim = source.size("attention.key_length")?;
    if source.size("attention.value_length")? != head_dim {
        let reason = "its keys and values have heads of different sizes";
        return Err(source.metadata.invalid(reason));
    }
    Ok(json!({
        "model_type": "qwen3",
        "vocab_size": source.rows("token_embd.weight")?,
        "hidden_size": source.size("embedding_length")?,
        "intermediate_size": source.size("feed_forward_length")?,
        "num_hidden_layers": source.size("block_count")?,
        "num_attention_heads": source.size("attention.head_count")?,
        "num_key_value_heads": source.size("attention.head_count_kv")?,
        "head_dim": head_dim,
        "rms_norm_eps": source.number("attention.layer_norm_rms_epsilon")?,
        "rope_theta": source.number("rope.freq_base")?,
        "max_position_embeddings": source.size("context_length")?,
    }))
}
