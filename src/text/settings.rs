//! What a model's other files say about its tokenizer: `tokenizer_config.json`,
//! `added_tokens.json`, `special_tokens_map.json`, config.json and `sentence_bert_config.json`.
//!
//! The rules are those of transformers 5. A tokenizer class that it knows builds the normalizer,
//! pre-tokenizer and template itself, and takes only the vocabulary from tokenizer.json. Any other
//! class takes tokenizer.json as it is. docs/tokenizers.md has every field, and what transformers 4
//! does.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::model::Model;
use super::parts::{Added, AddedToken, Parts};
use super::tokenizer::Direction;
use crate::error::{Error, Result};

/// The fields of a JSON object.
type Fields = Map<String, Value>;

/// The files beside a tokenizer.json.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Fields of `tokenizer_config.json`.
    pub config: Fields,
    /// Fields of `special_tokens_map.json`.
    pub special_tokens: Fields,
    /// Ids by token, of `added_tokens.json`.
    pub added_tokens: Fields,
    /// `model_type` of config.json; empty if there is none.
    pub model_type: String,
    /// `tokenizer_class` of config.json.
    pub class: Option<String>,
    /// Whether sentence-transformers' files ask for lower case.
    pub lowercase_text: bool,
    /// Rows of the model's embedding table. Tokens that only the tokenizer class asks for are
    /// omitted if there is no row for them.
    pub rows: usize,
}

/// Results that are not parts of the tokenizer.json.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// A description of the changes, for hashes; empty if there are none.
    pub changes: String,
    /// Which end of a long text is truncated.
    pub direction: Direction,
    /// Whether special tokens in a text are treated as text.
    pub split_special_tokens: bool,
    /// The eos token, if the files name one.
    pub end: Option<String>,
    /// Whether the eos token is appended if the template does not add it.
    pub closes: bool,
}

/// A tokenizer class of transformers 5 that does not take tokenizer.json as it is.
struct Class {
    /// Names of the class, without "Fast".
    names: &'static [&'static str],
    /// Type of its model.
    kind: Kind,
    /// The pre-tokenizer, as JSON.
    pre_tokenizer: &'static str,
    /// Fields of the tokens before and after a text. If empty, the file's template is kept.
    template: [&'static str; 2],
    /// Special tokens by field, in transformers' order. `*` marks a token that includes the space
    /// before it.
    tokens: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Bert,
    Roberta,
    Unigram,
    Camembert,
    T5,
    Deberta,
    Qwen2,
    Gemma,
}

const ATTRIBUTES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
/// Tokenizer classes of transformers 5 that are not implemented, without the suffix `Tokenizer`.
/// For names that it does not know, transformers takes tokenizer.json as it is.
const FOREIGN: &str = " \
    Albert Barthez Bartpho BertGeneration BertJapanese Bertweet BigBird BioGpt BlenderbotSmall \
    Blenderbot ByT5 CLIP CTRL Canine Clvp CodeLlama Cohere CpmAnt Cpm DPRQuestionEncoder Deberta \
    Dia Esm Esmc FNet FSMT Flaubert Funnel GPT2 GPTNeoXJapanese GPTNeoX GPTSw3 Herbert LED Lasr \
    LayoutLMv2 LayoutLMv3 LayoutXLM Llama Luke Lxmert M2M100 MBart50 MBart MLuke Marian MarkupLM \
    Mgpstr Mvp MyT5 Nllb Nougat OpenAIGPT PLBart Parakeet Pegasus Perceiver Phobert ProphetNet \
    Qwen3_5 Rag Reformer RemBert RoCBert RoFormer SeamlessM4T Siglip2 Siglip Speech2Text \
    SpeechT5 Splinter Tapas Tipsv2 Udop VideoPrism Vits Wav2Vec2CTC Wav2Vec2PhonemeCTC Whisper \
    XGLM XLM XLNet ";
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

const CLASSES: [Class; 9] = [
    Class {
        names: &[
            "BertTokenizer",
            "DistilBertTokenizer",
            "ElectraTokenizer",
            "MobileBertTokenizer",
        ],
        kind: Kind::Bert,
        pre_tokenizer: BERT,
        template: ["cls_token", "sep_token"],
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
        tokens: ROBERTA_TOKENS,
    },
    Class {
        names: &["XLMRobertaTokenizer"],
        kind: Kind::Unigram,
        pre_tokenizer: WORDS,
        template: ["bos_token", "eos_token"],
        tokens: ROBERTA_TOKENS,
    },
    Class {
        names: &["CamembertTokenizer"],
        kind: Kind::Camembert,
        pre_tokenizer: WORDS,
        template: ["bos_token", "eos_token"],
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
        tokens: &[
            ("bos_token", "<bos>"),
            ("eos_token", "<eos>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
            ("mask_token", "<mask>"),
        ],
    },
];

/// The class that transformers uses for a model type if no file names one, for the types that have
/// families here. An empty name takes tokenizer.json as it is, whatever the files name.
fn usual(model_type: &str) -> Option<&'static str> {
    Some(match model_type {
        "bert" | "distilbert" | "nomic_bert" => "BertTokenizer",
        "camembert" => "CamembertTokenizer",
        "deberta-v2" => "DebertaV2Tokenizer",
        "gemma3_text" => "GemmaTokenizer",
        "mistral" | "modernbert" | "umt5" | "xlm-roberta-xl" => "",
        "mpnet" => "MPNetTokenizer",
        "mt5" | "t5" => "T5Tokenizer",
        "qwen3" => "Qwen2Tokenizer",
        "roberta" => "RobertaTokenizer",
        "xlm-roberta" => "XLMRobertaTokenizer",
        _ => return None,
    })
}

fn wrong(field: &str, reason: &str) -> Error {
    Error::config("tokenizer_config.json", format!("{field} {reason}"))
}

/// The content of a token.
fn content_of(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// A token: a string, or an object with its content and how it is searched for.
fn token(field: &str, value: &Value, special: bool) -> Result<AddedToken> {
    let content = content_of(value).ok_or_else(|| {
        wrong(
            field,
            &format!("is {value}; it must be a token or an object with its content"),
        )
    })?;
    let flag = |name: &str, default: bool| {
        let flag = value.get(name).and_then(Value::as_bool);
        flag.unwrap_or(default)
    };
    let special = special || flag("special", false);
    Ok(AddedToken {
        content: content.to_owned(),
        single_word: flag("single_word", false),
        lstrip: flag("lstrip", false),
        rstrip: flag("rstrip", false),
        normalized: flag("normalized", !special),
        special,
    })
}

impl Settings {
    /// A field of `tokenizer_config.json`, which `special_tokens_map.json` may override.
    fn get(&self, field: &str) -> Option<&Value> {
        let other = self.special_tokens.get(field);
        other
            .filter(|_| !self.lists_tokens())
            .or_else(|| self.config.get(field))
    }

    /// Whether `tokenizer_config.json` lists all added tokens, so that the older files do not count.
    fn lists_tokens(&self) -> bool {
        lists_tokens(&self.config)
    }

    /// A Boolean field; null counts as missing.
    fn flag(&self, field: &str) -> Result<Option<bool>> {
        match self.config.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(wrong(
                field,
                &format!("is {other}; it must be true or false"),
            )),
        }
    }

    /// The class that transformers uses, or none if it takes tokenizer.json as it is.
    fn class(&self, parts: &Parts) -> Result<Option<&'static Class>> {
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
            // Version 5 makes wrong tokens of a vocabulary of another type. Version 4 takes the
            // file as it is, and so do we.
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

    /// Changes the parts of a tokenizer.json.
    pub fn apply(&self, parts: &mut Parts) -> Result<Applied> {
        let mut applied = Applied {
            direction: self.direction(parts)?,
            split_special_tokens: self.flag("split_special_tokens")? == Some(true),
            ..Applied::default()
        };
        let code = self.config.get("auto_map");
        if code.is_some_and(|code| code.is_array() || code.get("AutoTokenizer").is_some()) {
            return Err(wrong(
                "auto_map",
                "names code of the model's own for its tokenizer, which cannot be run here; save the tokenizer with transformers' own class",
            ));
        }
        if self.model_type == "mistral" && self.flag("fix_mistral_regex")? == Some(true) {
            return Err(wrong(
                "fix_mistral_regex",
                "changes the tokenizer as it is loaded, which is not implemented; save it with the change made",
            ));
        }
        let class = self.class(parts)?;
        let changes = &mut applied.changes;
        self.add_tokens(parts, class, changes)?;
        if let Some(class) = class {
            self.rebuild(parts, class, changes)?;
        }
        if self.lowercase_text {
            lowercase(&mut parts.normalizer, changes);
        }
        if applied.split_special_tokens {
            changes.push_str("split");
        }
        if applied.direction == Direction::Left {
            changes.push_str("left");
        }
        if self.flag("add_eos_token")? == Some(true) {
            let end = self.get("eos_token").filter(|value| !value.is_null());
            let end = end
                .map(|value| token("eos_token", value, true))
                .transpose()?;
            applied.end = end.map(|token| token.content);
            // transformers 4 appends the eos token, and such models were trained so. Version 5
            // ignores the field.
            applied.closes = self.model_type == "mistral";
        }
        Ok(applied)
    }

    /// Which end is truncated.
    fn direction(&self, parts: &Parts) -> Result<Direction> {
        let side = self.config.get("truncation_side");
        let side = side.or_else(|| parts.truncation.get("direction"));
        match side.map(Value::as_str) {
            None | Some(Some("right" | "Right")) => Ok(Direction::Right),
            Some(Some("left" | "Left")) => Ok(Direction::Left),
            Some(_) => Err(wrong("truncation_side", "must be \"left\" or \"right\"")),
        }
    }

    /// Makes the tokenizer search for the tokens that transformers would search for.
    fn add_tokens(
        &self,
        parts: &mut Parts,
        class: Option<&Class>,
        changes: &mut String,
    ) -> Result<()> {
        // Tokens that the files list, by their ids. Only the order of the ids matters.
        let mut listed = BTreeMap::new();
        if let Some(Value::Object(tokens)) = self.config.get("added_tokens_decoder") {
            for (id, value) in tokens {
                let field = "added_tokens_decoder";
                let id = id.trim().parse::<u64>();
                let id = id.map_err(|_| wrong(field, "must have ids as its keys"))?;
                listed.insert(id, token(field, value, false)?);
            }
        }
        let named = self.named(class)?;
        let (extra, is_extra) = self.extra(class)?;
        if !self.lists_tokens() {
            for (content, id) in &self.added_tokens {
                let Some(id) = id.as_u64() else {
                    let reason = format!("gives the token {content:?} the id {id}");
                    return Err(Error::config("added_tokens.json", reason));
                };
                let is_it = |value: &Value| content_of(value) == Some(content);
                let special = ATTRIBUTES
                    .iter()
                    .any(|field| self.get(field).is_some_and(is_it))
                    || extra
                        .iter()
                        .any(|(token, _)| is_extra && token.content == *content);
                listed.insert(id, added(content, special));
            }
            for added in &parts.added_tokens {
                listed.insert(added.id.into(), added.token.clone());
            }
        }
        let mut own = List {
            tokens: Vec::new(),
            places: HashMap::new(),
            next: u32::try_from(parts.model.size()).unwrap_or(u32::MAX),
            model: &parts.model,
        };
        let mut list = own.clone();
        for added in std::mem::take(&mut parts.added_tokens) {
            own.add(added.token);
        }
        if class.is_none() {
            list = own.clone();
        }
        for mut token in listed.into_values() {
            let is_named = |(other, _): &(AddedToken, bool)| other.content == token.content;
            if !list.has(&token) && named.iter().any(is_named) {
                token.special = true;
            }
            list.add(token);
        }
        let all: Vec<_> = named.into_iter().chain(extra).collect();
        for (token, implied) in &all {
            let has_row =
                (list.next as usize) < self.rows || parts.model.id(&token.content).is_some();
            if !list.places.contains_key(&token.content) && (!implied || has_row) {
                list.add(token.clone());
            }
        }
        if class.is_some_and(|class| class.kind == Kind::Qwen2) {
            // This class adds the tokens again, without their properties.
            for (token, _) in all {
                list.add(added(&token.content, true));
            }
        }
        if !list.is_like(&own) {
            for Added { id, token } in &list.tokens {
                let flags = [token.single_word, token.lstrip, token.rstrip];
                let flags = flags.into_iter().chain([token.normalized, token.special]);
                let flags = flags.fold(0, |all, flag| all << 1 | u8::from(flag));
                let _ = write!(changes, "{}\0{id} {flags} ", token.content);
            }
        }
        parts.added_tokens = list.tokens;
        Ok(())
    }

    /// The special tokens that have their own fields, and whether only the class asks for each.
    fn named(&self, class: Option<&Class>) -> Result<Vec<(AddedToken, bool)>> {
        let mut named = Vec::new();
        for field in ATTRIBUTES {
            match (self.get(field), class.and_then(|class| class.token(field))) {
                (Some(Value::Null), _) | (None, None) => {}
                (Some(value), default) => {
                    let mut token = token(field, value, true)?;
                    // A token that is given as a string is searched for as the class does.
                    token.lstrip |= value.is_string() && default.is_some_and(|token| token.lstrip);
                    named.push((token, false));
                }
                (None, Some(token)) => named.push((token, true)),
            }
        }
        // The model's own special tokens: other fields with this suffix, and the entries of an
        // object.
        let of_its_own = |(field, value): &(&String, &Value)| {
            let token = value.is_string() || value.get("__type").is_some();
            field.ends_with("_token") && token && !ATTRIBUTES.contains(&field.as_str())
        };
        let mut others: Vec<_> = self.config.iter().filter(of_its_own).collect();
        for fields in [&self.special_tokens, &self.config] {
            let counts = std::ptr::eq(fields, &raw const self.config) || !self.lists_tokens();
            if let Some(Value::Object(tokens)) =
                fields.get("extra_special_tokens").filter(|_| counts)
            {
                others.extend(tokens);
            }
        }
        for (field, value) in others {
            named.push((token(field, value, true)?, false));
        }
        Ok(named)
    }

    /// Special tokens without their own fields, and whether only the class asks for each; and
    /// whether `extra_special_tokens` lists them.
    fn extra(&self, class: Option<&Class>) -> Result<(Vec<(AddedToken, bool)>, bool)> {
        const EXTRA: &str = "extra_special_tokens";
        const ADDITIONAL: &str = "additional_special_tokens";
        let list = |fields: &Fields, field: &str| match fields.get(field) {
            None | Some(Value::Null | Value::Object(_)) => Ok(None),
            Some(Value::Array(list)) => {
                let tokens = list.iter().map(|value| {
                    let special = value.get("__type").is_none();
                    Ok((token(field, value, special)?, false))
                });
                tokens.collect::<Result<Vec<_>>>().map(Some)
            }
            Some(_) => Err(wrong(field, "must be a list of tokens")),
        };
        let mut extra = list(&self.config, EXTRA)?;
        let mut additional = list(&self.config, ADDITIONAL)?;
        if extra.as_ref().is_none_or(Vec::is_empty) && additional.is_some() {
            extra = additional.take();
        }
        if !self.lists_tokens() {
            if let Some(more) = list(&self.special_tokens, EXTRA)? {
                extra.get_or_insert_default().extend(more);
            }
            additional = list(&self.special_tokens, ADDITIONAL)?.or(additional);
        }
        if let Some(tokens) = extra {
            return Ok((tokens, true));
        }
        let implied = |content: String| (added(&content, true), true);
        let is_id = |(token, _): &(AddedToken, bool)| token.content.contains("<extra_id_");
        match class.map(|class| class.kind) {
            Some(Kind::Camembert) if additional.is_none() => {
                let contents = ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"];
                additional = Some(contents.map(|content| implied(content.to_owned())).to_vec());
            }
            Some(Kind::T5) if !additional.iter().flatten().any(is_id) => {
                let count = self
                    .config
                    .get("extra_ids")
                    .map_or(Some(100), Value::as_u64);
                let count = count.filter(|count| *count <= 1 << 16);
                let count =
                    count.ok_or_else(|| wrong("extra_ids", "must be a number of at most 65536"))?;
                let contents = (0..count).map(|id| implied(format!("<extra_id_{id}>")));
                additional.get_or_insert_default().extend(contents);
            }
            _ => {}
        }
        Ok((additional.unwrap_or_default(), false))
    }

    /// The content of a special token, and its id.
    fn special(&self, parts: &Parts, class: &Class, field: &str) -> Result<(String, u32)> {
        let token = match self.get(field) {
            Some(value) => Some(token(field, value, true)?),
            None => class.token(field),
        };
        let content = token.map(|token| token.content).unwrap_or_default();
        let mut added = parts.added_tokens.iter().rev();
        let id = added
            .find(|added| added.token.content == content)
            .map(|added| added.id);
        let id = id.or_else(|| parts.model.id(&content));
        let id = id.ok_or_else(|| {
            let reason = format!("is {content:?}, which the vocabulary lacks");
            wrong(field, &reason)
        })?;
        Ok((content, id))
    }

    /// Replaces the parts that a class builds itself, if they differ from the file's.
    fn rebuild(&self, parts: &mut Parts, class: &Class, changes: &mut String) -> Result<()> {
        self.rebuild_model(parts, class, changes)?;
        let kind = class.kind;
        let prefix = match self.config.get("add_prefix_space") {
            None => kind != Kind::Roberta && kind != Kind::Qwen2,
            _ => kind == Kind::T5 || self.flag("add_prefix_space")? == Some(true),
        };
        let scheme = match (prefix, kind) {
            (true, _) => "always",
            (false, Kind::Deberta) => "first",
            _ => "never",
        };
        let normalizer = match kind {
            Kind::Bert => {
                let flag = |field: &str| match self.flag(field)? {
                    Some(false) => Ok("false"),
                    Some(true) => Ok("true"),
                    None => Ok::<_, Error>(if field == "strip_accents" {
                        "null"
                    } else {
                        "true"
                    }),
                };
                let chinese = flag("tokenize_chinese_chars")?;
                let (accents, lower) = (flag("strip_accents")?, flag("do_lower_case")?);
                parse(&format!(
                    r#"{{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":{chinese},"strip_accents":{accents},"lowercase":{lower}}}"#
                ))
            }
            Kind::Unigram | Kind::Camembert | Kind::T5 => precompiled(&parts.normalizer),
            Kind::Deberta => {
                let lower = self.flag("do_lower_case")? == Some(true);
                let lower = if lower {
                    r#"{"type":"Lowercase"},"#
                } else {
                    ""
                };
                parse(&format!(
                    r#"{{"type":"Sequence","normalizers":[{lower}{{"type":"Replace","pattern":{{"Regex":"\\s{{2,}}|[\\n\\r\\t]"}},"content":" "}},{{"type":"NFC"}},{{"type":"Strip","strip_left":false,"strip_right":true}}]}}"#
                ))
            }
            Kind::Qwen2 => parse(r#"{"type":"NFC"}"#),
            Kind::Gemma => parse(r#"{"type":"Replace","pattern":{"String":" "},"content":"▁"}"#),
            Kind::Roberta => Value::Null,
        };
        replace(&mut parts.normalizer, normalizer, changes);
        let flag = if prefix { "true" } else { "false" };
        let json = class.pre_tokenizer.replace("PREFIX", flag);
        let mut pre_tokenizer = parse(&json.replace("SCHEME", scheme));
        if kind == Kind::Deberta && self.flag("split_by_punct")? == Some(true) {
            pre_tokenizer = parse(&format!(
                r#"{{"type":"Sequence","pretokenizers":[{{"type":"Punctuation","behavior":"Isolated"}},{pre_tokenizer}]}}"#
            ));
        }
        replace(&mut parts.pre_tokenizer, pre_tokenizer, changes);
        if !class.template[1].is_empty() {
            let mut ends = Vec::new();
            for field in class.template {
                ends.push(match field {
                    "" => None,
                    field => Some(self.special(parts, class, field)?),
                });
            }
            let ids = ends
                .iter()
                .map(|end| end.iter().map(|(_, id)| *id).collect());
            if around(&parts.post_processor) != Some(ids.collect()) {
                parts.post_processor = template(&ends, kind == Kind::Roberta);
                let _ = write!(changes, "{}", parts.post_processor);
            }
        }
        Ok(())
    }

    /// Sets the model's options to those of its class.
    fn rebuild_model(&self, parts: &mut Parts, class: &Class, changes: &mut String) -> Result<()> {
        let kind = class.kind;
        let unknown = match self.get("unk_token") {
            Some(Value::Null) => None,
            Some(value) => Some(token("unk_token", value, true)?),
            None => class.token("unk_token"),
        };
        let unknown = unknown.map(|token| token.content);
        let misfit = || {
            let reason = format!(
                "is {}, whose unknown token tokenizer.json lacks; if that is the whole tokenizer, name the class PreTrainedTokenizerFast",
                class.names[0]
            );
            wrong("tokenizer_class", &reason)
        };
        let unknown = unknown.and_then(|token| parts.model.id(&token));
        let differs = match (kind, &mut parts.model) {
            (Kind::Bert, Model::WordPiece(model)) => model.set_unknown(unknown.ok_or_else(misfit)?),
            (Kind::Roberta | Kind::Qwen2 | Kind::Gemma, Model::Bpe(model)) => {
                let gemma = kind == Kind::Gemma;
                let unknown = unknown.filter(|_| gemma);
                model.set_unknown(unknown, gemma).ok_or_else(misfit)?
            }
            (Kind::Unigram | Kind::Camembert | Kind::T5 | Kind::Deberta, Model::Unigram(model)) => {
                let piece = unknown.map(|id| id as usize);
                let id = match kind {
                    Kind::Unigram => 3,
                    Kind::T5 => 2,
                    Kind::Camembert => piece.unwrap_or(0),
                    _ => {
                        let id = self.config.get("unk_id").map_or(Some(1), Value::as_u64);
                        let id = id.and_then(|id| usize::try_from(id).ok());
                        let free = piece.filter(|id| model.score(*id) == Some(0.0));
                        free.or(id).ok_or_else(misfit)?
                    }
                };
                model.set_unknown(id).ok_or_else(misfit)?
            }
            // See `Class::fits`.
            _ => false,
        };
        if differs {
            changes.push_str(class.names[0]);
        }
        Ok(())
    }
}

/// Whether a `tokenizer_config.json` lists all added tokens, so that the older files do not count.
pub fn lists_tokens(config: &Fields) -> bool {
    config
        .get("added_tokens_decoder")
        .is_some_and(Value::is_object)
}

impl Class {
    /// Whether the class can use a vocabulary of this type.
    fn fits(&self, model: &Model) -> bool {
        match self.kind {
            Kind::Bert => matches!(model, Model::WordPiece(_)),
            Kind::Roberta | Kind::Qwen2 | Kind::Gemma => matches!(model, Model::Bpe(_)),
            Kind::Unigram | Kind::Camembert | Kind::T5 | Kind::Deberta => {
                matches!(model, Model::Unigram(_))
            }
        }
    }

    /// The class's default for a special token.
    fn token(&self, field: &str) -> Option<AddedToken> {
        let (_, content) = self.tokens.iter().find(|(name, _)| *name == field)?;
        let bare = content.strip_prefix('*');
        let mut token = added(bare.unwrap_or(content), true);
        token.lstrip = bare.is_some();
        Some(token)
    }
}

/// A token without properties. A special one is searched for in the raw text.
fn added(content: &str, special: bool) -> AddedToken {
    AddedToken {
        content: content.to_owned(),
        normalized: !special,
        special,
        ..AddedToken::default()
    }
}

/// Added tokens with the ids that they will get.
#[derive(Clone)]
struct List<'a> {
    tokens: Vec<Added>,
    /// The last index of each token, by its content.
    places: HashMap<String, usize>,
    /// The id of the next token that the vocabulary lacks.
    next: u32,
    model: &'a Model,
}

impl List<'_> {
    /// Whether the token is there with the same properties.
    fn has(&self, token: &AddedToken) -> bool {
        let place = self.places.get(&token.content);
        place.is_some_and(|place| self.tokens[*place].token == *token)
    }

    /// Whether texts have the same tokens with both.
    fn is_like(&self, other: &Self) -> bool {
        let same = |(content, place): (&String, &usize)| {
            let Added { id, token } = &self.tokens[*place];
            other.has(token) && other.tokens[other.places[content]].id == *id
        };
        self.places.len() == other.places.len() && self.places.iter().all(same)
    }

    fn add(&mut self, token: AddedToken) {
        if token.content.is_empty() || self.has(&token) {
            return;
        }
        let known = match self.places.get(&token.content) {
            Some(place) => Some(self.tokens[*place].id),
            None => self.model.id(&token.content),
        };
        let id = known.unwrap_or_else(|| {
            let id = self.next;
            self.next = id.saturating_add(1);
            id
        });
        self.places.insert(token.content.clone(), self.tokens.len());
        self.tokens.push(Added { id, token });
    }
}

/// Parses JSON that is part of this source file.
fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

/// Replaces a part, unless both mean the same.
fn replace(part: &mut Value, new: Value, changes: &mut String) {
    if plain(part) != plain(&new) {
        *part = new;
        let _ = write!(changes, "{part}");
    }
}

/// A part with defaults filled in and without fields that have no effect on ids.
fn plain(part: &Value) -> Value {
    let Value::Object(fields) = part else {
        return match part {
            Value::Array(list) => list.iter().map(plain).collect(),
            other => other.clone(),
        };
    };
    let lists = ["pretokenizers", "normalizers"];
    let list = lists
        .iter()
        .find_map(|field| fields.get(*field)?.as_array());
    if let Some([one]) = list.map(Vec::as_slice) {
        return plain(one);
    }
    let counts = |(field, value): &(&String, &Value)| {
        !value.is_null() && *field != "trim_offsets" && *field != "str_rep"
    };
    let mut fields: Fields = fields
        .iter()
        .filter(counts)
        .map(|(field, value)| (field.clone(), plain(value)))
        .collect();
    match fields.get("type").and_then(Value::as_str) {
        Some("Metaspace") => {
            let never = fields.remove("add_prefix_space") == Some(Value::Bool(false));
            let scheme = if never { "never" } else { "always" };
            fields
                .entry("prepend_scheme")
                .or_insert_with(|| scheme.into());
            fields.entry("split").or_insert(Value::Bool(true));
        }
        Some("ByteLevel") => {
            fields.entry("use_regex").or_insert(Value::Bool(true));
        }
        _ => {}
    }
    Value::Object(fields)
}

/// A normalizer's `Precompiled` step, which sentencepiece's classes keep.
fn precompiled(normalizer: &Value) -> Value {
    let list = normalizer.get("normalizers").and_then(Value::as_array);
    let mut all = list
        .map_or(std::slice::from_ref(normalizer), Vec::as_slice)
        .iter();
    let table = all.find(|one| one.get("type").is_some_and(|kind| kind == "Precompiled"));
    table.cloned().unwrap_or_default()
}

/// Lower-cases texts first, as sentence-transformers does, unless the normalizer does so.
fn lowercase(normalizer: &mut Value, changes: &mut String) {
    let mut all = vec![parse(r#"{"type":"Lowercase"}"#)];
    match normalizer.get("normalizers").and_then(Value::as_array) {
        Some(list) => all.extend_from_slice(list),
        None if normalizer.is_null() => {}
        None => all.push(normalizer.clone()),
    }
    if !all[1..].contains(&all[0]) {
        let all = Value::Array(all);
        let new = parse(&format!(r#"{{"type":"Sequence","normalizers":{all}}}"#));
        replace(normalizer, new, changes);
    }
}

/// Ids that a post-processor puts before and after a text, or none if they are not evident.
fn around(processor: &Value) -> Option<Vec<Vec<u32>>> {
    let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
    let kind = processor.get("type").and_then(Value::as_str);
    let mut ends = vec![Vec::new(), Vec::new()];
    match kind {
        Some("BertProcessing" | "RobertaProcessing") => {
            for (end, field) in ends.iter_mut().zip(["cls", "sep"]) {
                end.push(id(processor.get(field)?.get(1)?)?);
            }
        }
        Some("TemplateProcessing") => {
            let mut end = 0;
            for piece in processor.get("single")?.as_array()? {
                let Some(token) = piece.get("SpecialToken") else {
                    end += 1;
                    continue;
                };
                let token = token.get("id")?.as_str()?;
                let ids = processor.get("special_tokens")?.get(token)?.get("ids")?;
                for value in ids.as_array()? {
                    ends.get_mut(end)?.push(id(value)?);
                }
            }
            if end != 1 {
                return None;
            }
        }
        Some("Sequence") => {
            let all = processor.get("processors")?.as_array()?;
            let byte_level = |one: &&Value| one.get("type").is_some_and(|kind| kind == "ByteLevel");
            let rest: Vec<_> = all.iter().filter(|one| !byte_level(one)).collect();
            let [one] = rest.as_slice() else {
                return None;
            };
            return around(one);
        }
        _ => return None,
    }
    Some(ends)
}

/// A post-processor that puts tokens before and after a text.
fn template(ends: &[Option<(String, u32)>], byte_level: bool) -> Value {
    let (mut sides, mut special) = ([String::new(), String::new()], String::new());
    for (end, side) in ends.iter().zip(&mut sides) {
        if let Some((token, id)) = end {
            let token = Value::from(token.as_str());
            let _ = write!(side, r#"{{"SpecialToken":{{"id":{token},"type_id":0}}}}"#);
            let comma = if special.is_empty() { "" } else { "," };
            let _ = write!(
                special,
                r#"{comma}{token}:{{"id":{token},"ids":[{id}],"tokens":[{token}]}}"#
            );
        }
    }
    let [mut before, mut after] = sides;
    if !before.is_empty() {
        before.push(',');
    }
    if !after.is_empty() {
        after.insert(0, ',');
    }
    let single = format!(r#"[{before}{{"Sequence":{{"id":"A","type_id":0}}}}{after}]"#);
    let template = format!(
        r#"{{"type":"TemplateProcessing","single":{single},"pair":{single},"special_tokens":{{{special}}}}}"#
    );
    parse(&if byte_level {
        let trims =
            r#"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}"#;
        format!(r#"{{"type":"Sequence","processors":[{trims},{template}]}}"#)
    } else {
        template
    })
}
