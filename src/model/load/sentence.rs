//! sentence-transformers' settings of a transformer: `sentence_bert_config.json`, or an older name
//! of that file.

use serde_json::{Map, Value};

use crate::error::Result;
use crate::model::families::config::Config;

/// Names of the file. The first one that exists is read.
pub const NAMES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// The task of a transformer whose head for sequence classification gives scores.
pub const CLASSIFICATION: &str = "sequence-classification";
/// The task of a decoder.
pub const GENERATION: &str = "text-generation";

/// The settings.
#[derive(Default)]
pub struct Sentence {
    /// The output of the model to use; `None` for the usual one of the module's type.
    pub task: Option<String>,
    /// The maximum number of tokens in one input.
    pub max_tokens: Option<usize>,
    /// Whether texts are lower-cased before the tokenizer sees them.
    pub lowercase: bool,
    /// Fields that replace those of config.json.
    pub config: Map<String, Value>,
    /// Whether texts are put into messages, of which the chat template makes one text.
    pub messages: bool,
    /// Values that the chat template may use.
    pub template_values: Map<String, Value>,
}

impl Sentence {
    /// Reads the file. Settings that would change vectors and are not implemented are refused;
    /// `late` is whether those of late interaction are read elsewhere.
    pub fn read(config: &Config, late: bool) -> Result<Self> {
        // These have no effect on vectors: where files are, in which dtype numbers are held, how
        // attention is computed, and outputs that nothing reads.
        const MODEL: [&str; 12] = [
            "add_pooling_layer",
            "attn_implementation",
            "cache_dir",
            "device_map",
            "dtype",
            "local_files_only",
            "low_cpu_mem_usage",
            "revision",
            "torch_dtype",
            "trust_remote_code",
            "use_cache",
            "use_safetensors",
        ];
        const PROCESSOR: [&str; 7] = [
            "cache_dir",
            "local_files_only",
            "model_max_length",
            "padding_side",
            "revision",
            "trust_remote_code",
            "use_fast",
        ];
        let mut max_tokens = limit(config, "max_seq_length")?;
        for (names, known) in [
            (["model_args", "model_kwargs"], &MODEL[..]),
            (["tokenizer_args", "processor_kwargs"], &PROCESSOR[..]),
        ] {
            for name in names {
                let arguments = Arguments::of(config, name)?;
                arguments.only(known)?;
                max_tokens = limit(&arguments.0, "model_max_length")?.or(max_tokens);
            }
        }
        let mut overriding = Map::new();
        for name in ["config_args", "config_kwargs"] {
            overriding.extend(Arguments::of(config, name)?.0.into_fields());
        }
        let processing = Arguments::of(config, "processing_kwargs")?.0;
        for kind in ["text", "common"] {
            let call = Arguments::of(&processing, kind)?;
            call.only(&[
                "max_length",
                "padding",
                "pad_to_multiple_of",
                "return_tensors",
                "truncation",
            ])?;
            // Of one text both cut the same; of a pair `only_first` leaves the second text whole.
            let mut cuts = vec![true.into(), Value::from("longest_first")];
            if config.text("transformer_task")? != Some(CLASSIFICATION) {
                cuts.push("only_first".into());
            }
            call.0.only("truncation", &cuts)?;
            max_tokens = limit(&call.0, "max_length")?.or(max_tokens);
            if late {
                // It would go before the lengths of queries and documents.
                call.only(&["return_tensors"])?;
            }
        }
        for name in ["query_length", "document_length", "query_expansion"] {
            if !late {
                config.only(name, &[])?;
            }
        }
        let task = config.text("transformer_task")?.map(str::to_owned);
        let modality = Arguments::of(config, "modality_config")?.0;
        let text = Arguments::of(&modality, "text")?.0;
        let (output, name) = match task.as_deref() {
            Some("fill-mask") => ("logits", "token_embeddings"),
            Some(GENERATION) => ("logits", "causal_logits"),
            Some(CLASSIFICATION) => ("logits", "scores"),
            _ => ("last_hidden_state", "token_embeddings"),
        };
        config.only("module_output_name", &[name.into()])?;
        let message = Arguments::of(&modality, "message")?.0;
        for kind in [&text, &message] {
            kind.only("method", &["forward".into()])?;
            kind.only("method_output_name", &[output.into()])?;
        }
        message.only("format", &["flat".into()])?;
        let template = Arguments::of(&processing, "chat_template")?.0;
        let messages = modality.get("message").is_some();
        if messages {
            // The end of a text that is cut is put back, and no other template is taken.
            template.only("restore_suffix", &[true.into()])?;
            for name in ["chat_template", "max_length", "truncation"] {
                template.only(name, &[])?;
            }
        }
        Ok(Self {
            task,
            max_tokens,
            lowercase: config.flag("do_lower_case", false)?,
            config: overriding,
            messages,
            template_values: template.into_fields(),
        })
    }
}

/// A maximum number of tokens. transformers writes 1e30 for "no limit"; `None` for such values, so
/// that the number of positions decides.
pub fn limit(config: &Config, field: &str) -> Result<Option<usize>> {
    match config.get(field).and_then(Value::as_u64) {
        None => Ok(None),
        Some(_) => config.size(field, usize::MAX).map(Some),
    }
}

/// Keyword arguments of a call in Python.
struct Arguments(Config);

impl Arguments {
    /// The arguments in a field of a file. Empty if the field is absent.
    fn of(config: &Config, field: &str) -> Result<Self> {
        match config.get(field) {
            None => Ok(Self(config.inner(field, Map::new()))),
            Some(Value::Object(fields)) => Ok(Self(config.inner(field, fields.clone()))),
            Some(_) => Err(config.wrong(field, "an object")),
        }
    }

    /// Refuses arguments that are not known.
    fn only(&self, known: &[&str]) -> Result<()> {
        let unknown = self.0.fields().find(|name| !known.contains(&name.as_str()));
        unknown.map_or(Ok(()), |name| self.0.only(name, &[]))
    }
}
