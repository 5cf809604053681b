//! The tokenizer classes of transformers 5.

use serde_json::Value;

use super::files::{Settings, wrong};
use super::token::added;
use crate::error::Result;
use crate::text::model::Model;
use crate::text::parts::{AddedToken, Parts};

/// A tokenizer class of transformers 5 that rebuilds parts of tokenizer.json.
pub struct Class {
    /// Its names, without "Fast".
    pub names: &'static [&'static str],
    /// The kind of its model.
    pub kind: Kind,
    /// The pre-tokenizer, as JSON.
    pub pre_tokenizer: &'static str,
    /// Fields of the tokens before and after a text. Empty if the file's template is kept.
    pub template: [&'static str; 2],
    /// Whether the places of tokens are without the white space around them.
    pub trims: bool,
    /// Its special tokens by field, in transformers' order. `*` marks a token that includes the
    /// space before it.
    pub tokens: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Bert,
    Roberta,
    Unigram,
    Albert,
    Camembert,
    T5,
    Deberta,
    Qwen2,
    Gemma,
}

/// Tokenizer classes of transformers 5 that are not implemented, without the ending `Tokenizer`.
/// For names that it does not know, transformers uses tokenizer.json as it is.
const FOREIGN: &str = " \
    Barthez Bartpho BertGeneration BertJapanese Bertweet BigBird BioGpt BlenderbotSmall \
    Blenderbot ByT5 CLIP CTRL Canine Clvp CodeLlama Cohere CpmAnt Cpm DPRQuestionEncoder Deberta \
    Dia Esm Esmc FNet FSMT Flaubert Funnel GPT2 GPTNeoXJapanese GPTNeoX GPTSw3 Herbert LED Lasr \
    LayoutLMv2 LayoutLMv3 LayoutXLM Llama Luke Lxmert M2M100 MBart50 MBart MLuke Marian MarkupLM \
    Mgpstr Mvp MyT5 Nllb Nougat OpenAIGPT PLBart Parakeet Pegasus Perceiver Phobert ProphetNet \
    Qwen3_5 Rag Reformer RemBert RoCBert RoFormer SeamlessM4T Siglip2 Siglip Speech2Text \
    SpeechT5 Splinter Tapas Tipsv2 Udop VideoPrism Vits Wav2Vec2CTC Wav2Vec2PhonemeCTC Whisper \
    XGLM XLM XLNet ";
/// The tokenizer class of BERT.
pub const BERT_TOKENIZER: &str = "BertTokenizer";
const BERT: &str = r#"{"type":"BertPreTokenizer"}"#;
const WORDS: &str = r#"{"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},{"type":"Metaspace","replacement":"▁","prepend_scheme":"SCHEME","split":true}]}"#;
const ROBERTA_TOKENS: &[(&str, &str)] = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];

const CLASSES: [Class; 10] = [
    Class {
        names: &[
            BERT_TOKENIZER,
            "DistilBertTokenizer",
            "ElectraTokenizer",
            "MobileBertTokenizer",
        ],
        kind: Kind::Bert,
        pre_tokenizer: BERT,
        template: ["cls_token", "sep_token"],
        trims: false,
        tokens: &[
            ("unk_token", "[UNK]"),
            ("sep_token", "[SEP]"),
            ("pad_token", "[PAD]"),
            ("cls_token", "[CLS]"),
            ("mask_token", "[MASK]"),
        ],
    },
    Class {
        names: &["MPNetTokenizer"],
        kind: Kind::Bert,
        pre_tokenizer: BERT,
        template: ["cls_token", "sep_token"],
        trims: true,
        tokens: &[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("unk_token", "[UNK]"),
            ("sep_token", "</s>"),
            ("pad_token", "<pad>"),
            ("cls_token", "<s>"),
            ("mask_token", "*<mask>"),
        ],
    },
    Class {
        names: &["RobertaTokenizer", "LongformerTokenizer", "BartTokenizer"],
        kind: Kind::Roberta,
        pre_tokenizer: r#"{"type":"ByteLevel","add_prefix_space":PREFIX,"trim_offsets":true,"use_regex":true}"#,
        template: ["cls_token", "sep_token"],
        trims: true,
        tokens: ROBERTA_TOKENS,
    },
    Class {
        names: &["XLMRobertaTokenizer"],
        kind: Kind::Unigram,
        pre_tokenizer: WORDS,
        template: ["bos_token", "eos_token"],
        trims: false,
        tokens: ROBERTA_TOKENS,
    },
    Class {
        names: &["AlbertTokenizer"],
        kind: Kind::Albert,
        pre_tokenizer: WORDS,
        template: ["", ""],
        trims: false,
        tokens: &[
            ("bos_token", "[CLS]"),
            ("eos_token", "[SEP]"),
            ("unk_token", "<unk>"),
            ("sep_token", "[SEP]"),
            ("pad_token", "<pad>"),
            ("cls_token", "[CLS]"),
            ("mask_token", "[MASK]"),
        ],
    },
    Class {
        names: &["CamembertTokenizer"],
        kind: Kind::Camembert,
        pre_tokenizer: WORDS,
        template: ["bos_token", "eos_token"],
        trims: false,
        tokens: &[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
            ("sep_token", "</s>"),
            ("pad_token", "<pad>"),
            ("cls_token", "<s>"),
            ("mask_token", "*<mask>"),
        ],
    },
    Class {
        names: &["T5Tokenizer"],
        kind: Kind::T5,
        pre_tokenizer: WORDS,
        template: ["", "eos_token"],
        trims: false,
        tokens: &[
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
        ],
    },
    Class {
        names: &["DebertaV2Tokenizer"],
        kind: Kind::Deberta,
        pre_tokenizer: r#"{"type":"Metaspace","replacement":"▁","prepend_scheme":"SCHEME","split":true}"#,
        template: ["cls_token", "sep_token"],
        trims: false,
        tokens: &[
            ("bos_token", "[CLS]"),
            ("eos_token", "[SEP]"),
            ("unk_token", "[UNK]"),
            ("sep_token", "[SEP]"),
            ("pad_token", "[PAD]"),
            ("cls_token", "[CLS]"),
            ("mask_token", "[MASK]"),
        ],
    },
    Class {
        names: &["Qwen2Tokenizer"],
        kind: Kind::Qwen2,
        pre_tokenizer: r#"{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":PREFIX,"trim_offsets":true,"use_regex":false}]}"#,
        template: ["", ""],
        trims: false,
        tokens: &[
            ("eos_token", "<|endoftext|>"),
            ("unk_token", "<|endoftext|>"),
            ("pad_token", "<|endoftext|>"),
        ],
    },
    Class {
        names: &["GemmaTokenizer"],
        kind: Kind::Gemma,
        pre_tokenizer: r#"{"type":"Split","pattern":{"String":" "},"behavior":"MergedWithPrevious","invert":false}"#,
        template: ["", ""],
        trims: false,
        tokens: &[
            ("bos_token", "<bos>"),
            ("eos_token", "<eos>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
            ("mask_token", "<mask>"),
        ],
    },
];

/// The class that transformers uses for a model type if no file names one, for the model types that
/// are implemented. "" means that tokenizer.json is used as it is, whatever the files name.
fn usual(model_type: &str) -> Option<&'static str> {
    Some(match model_type {
        "albert" => "AlbertTokenizer",
        "bert" | "distilbert" | "electra" | "nomic_bert" => BERT_TOKENIZER,
        "camembert" => "CamembertTokenizer",
        "deberta-v2" => "DebertaV2Tokenizer",
        "gemma3_text" => "GemmaTokenizer",
        "mistral" | "modernbert" | "umt5" | "xlm-roberta-xl" => "",
        "mpnet" => "MPNetTokenizer",
        "mt5" | "t5" => "T5Tokenizer",
        "qwen2" | "qwen3" => "Qwen2Tokenizer",
        "roberta" => "RobertaTokenizer",
        "gte" | "xlm-roberta" => "XLMRobertaTokenizer",
        _ => return None,
    })
}

impl Settings {
    /// Whether the tokenizer gives token types to the model: if the files list them among the
    /// model's inputs, otherwise if the class does.
    pub fn token_types(&self) -> bool {
        const TYPES: &str = "token_type_ids";
        if let Some(names) = self
            .config
            .get("model_input_names")
            .and_then(Value::as_array)
        {
            return names.iter().any(|name| name == TYPES);
        }
        let usual = usual(&self.model_type);
        if usual == Some("") {
            return false;
        }
        let named = self.config.get("tokenizer_class").and_then(Value::as_str);
        let name = named
            .or(self.class.as_deref())
            .or(usual)
            .unwrap_or_default();
        matches!(
            name.strip_suffix("Fast").unwrap_or(name),
            BERT_TOKENIZER | "ElectraTokenizer" | "MobileBertTokenizer" | "DebertaV2Tokenizer"
        )
    }

    /// The class that transformers uses. `None` if it uses tokenizer.json as it is.
    pub fn class(&self, parts: &Parts) -> Result<Option<&'static Class>> {
        let usual = usual(&self.model_type);
        if usual == Some("") {
            return Ok(None);
        }
        let named = self.config.get("tokenizer_class").and_then(Value::as_str);
        let named = named.or(self.class.as_deref());
        let name = named.or(usual).unwrap_or_default();
        let name = name.strip_suffix("Fast").unwrap_or(name);
        let byte_level = || {
            let json = [&parts.pre_tokenizer, &parts.decoder, &parts.post_processor];
            json.iter()
                .any(|part| part.to_string().contains("\"ByteLevel\""))
        };
        if let Some(class) = CLASSES.iter().find(|class| class.names.contains(&name)) {
            // For a vocabulary of another kind, version 5 builds a broken tokenizer; version 4 uses
            // the file.
            return Ok(Some(class).filter(|class| class.fits(&parts.model)));
        }
        let stem = name.strip_suffix("Tokenizer").unwrap_or_default();
        let is_foreign = !stem.is_empty() && FOREIGN.contains(&format!(" {stem} "));
        if is_foreign && !(name == "LlamaTokenizer" && byte_level()) {
            let reason = format!(
                "is {name}, which is not implemented; if tokenizer.json is the whole tokenizer, name the class PreTrainedTokenizerFast"
            );
            return Err(wrong("tokenizer_class", &reason));
        }
        Ok(None)
    }
}

impl Class {
    /// Whether the class fits a vocabulary of this kind.
    fn fits(&self, model: &Model) -> bool {
        match self.kind {
            Kind::Bert => matches!(model, Model::WordPiece(_)),
            Kind::Roberta | Kind::Qwen2 | Kind::Gemma => matches!(model, Model::Bpe(_)),
            Kind::Unigram | Kind::Albert | Kind::Camembert | Kind::T5 | Kind::Deberta => {
                matches!(model, Model::Unigram(_))
            }
        }
    }

    /// The special token that the class has if no file names one.
    pub fn token(&self, field: &str) -> Option<AddedToken> {
        let (_, content) = self.tokens.iter().find(|(name, _)| *name == field)?;
        let bare = content.strip_prefix('*');
        let mut token = added(bare.unwrap_or(content), true);
        token.lstrip = bare.is_some();
        Some(token)
    }
}
