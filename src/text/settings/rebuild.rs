//! The parts of a tokenizer that a tokenizer class builds itself: model options, normalizer,
//! pre-tokenizer and template.

use std::fmt::Write as _;

use serde_json::Value;

use super::classes::{BERT_TOKENIZER, Class, Kind};
use super::files::{Fields, Settings, wrong};
use super::token::token;
use crate::error::{Error, Result};
use crate::text::model::Model;
use crate::text::pair::Pair;
use crate::text::parts::Parts;
use crate::text::template::Template;

impl Settings {
    /// Content and id of a special token.
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

    /// Replaces the parts that a class builds itself, if they differ from the file's. Returns the
    /// class's template for two texts, if it has one.
    pub fn rebuild(
        &self,
        parts: &mut Parts,
        class: &Class,
        changes: &mut String,
    ) -> Result<Option<Pair>> {
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
            Kind::Albert => {
                let mut all = vec![
                    parse(r#"{"type":"Replace","pattern":{"String":"``"},"content":"\""}"#),
                    parse(r#"{"type":"Replace","pattern":{"String":"''"},"content":"\""}"#),
                ];
                if self.flag("keep_accents")? != Some(true) {
                    all.push(parse(r#"{"type":"NFKD"}"#));
                    all.push(parse(r#"{"type":"StripAccents"}"#));
                }
                if self.flag("do_lower_case")? != Some(false) {
                    all.push(parse(r#"{"type":"Lowercase"}"#));
                }
                all.extend(Some(precompiled(&parts.normalizer)).filter(|table| !table.is_null()));
                let all = Value::Array(all);
                parse(&format!(r#"{{"type":"Sequence","normalizers":{all}}}"#))
            }
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
        // ALBERT's class keeps a template that the file has.
        let keeps = kind == Kind::Albert && !parts.post_processor.is_null();
        if class.template[1].is_empty() || keeps {
            return Ok(None);
        }
        let mut ends = Vec::new();
        for field in class.template {
            ends.push(match field {
                "" => None,
                field => Some(self.special(parts, class, field)?),
            });
        }
        let ids: Vec<Vec<u32>> = ends
            .iter()
            .map(|end| end.iter().map(|(_, id)| *id).collect())
            .collect();
        let pair = match kind {
            Kind::Albert | Kind::Deberta => Pair::bert(&ids[0], &ids[1]),
            Kind::Bert if class.names[0] == BERT_TOKENIZER => Pair::bert(&ids[0], &ids[1]),
            Kind::T5 => Pair::t5(&ids[1]),
            _ => Pair::roberta(&ids[0], &ids[1]),
        };
        let is_same = around(&parts.post_processor) == Some(ids);
        let is_trimmed = |json| Template::new(json).is_ok_and(|own| !own.trims.is_empty());
        if !is_same || (class.trims && !is_trimmed(&parts.post_processor)) {
            parts.post_processor = template(&ends, class.trims);
        }
        // The places of tokens do not change vectors.
        if !is_same {
            let _ = write!(changes, "{}", parts.post_processor);
        }
        Ok(Some(pair))
    }

    /// Sets the options of the model to those of the class.
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
            (
                Kind::Unigram | Kind::Albert | Kind::Camembert | Kind::T5 | Kind::Deberta,
                Model::Unigram(model),
            ) => {
                let piece = unknown.map(|id| id as usize);
                let id = match kind {
                    Kind::Unigram => 3,
                    Kind::Albert => 1,
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
            // Not reached: `Class::fits` has checked the kind.
            _ => false,
        };
        if differs {
            changes.push_str(class.names[0]);
        }
        Ok(())
    }
}

/// Parses JSON that is written in this file.
fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

/// Replaces a part, unless the new one is equivalent.
fn replace(part: &mut Value, new: Value, changes: &mut String) {
    if plain(part) != plain(&new) {
        *part = new;
        let _ = write!(changes, "{part}");
    }
}

/// A part in a normal form: without fields that do not affect ids, and with defaults filled in.
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

/// The character table of a normalizer, which sentencepiece's classes keep.
fn precompiled(normalizer: &Value) -> Value {
    let list = normalizer.get("normalizers").and_then(Value::as_array);
    let mut all = list
        .map_or(std::slice::from_ref(normalizer), Vec::as_slice)
        .iter();
    let table = all.find(|one| one.get("type").is_some_and(|kind| kind == "Precompiled"));
    table.cloned().unwrap_or_default()
}

/// Adds lower-casing before the normalizer, as sentence-transformers does, unless the normalizer
/// has it.
pub fn lowercase(normalizer: &mut Value, changes: &mut String) {
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

/// The ids that a post-processor adds before and after a text. `None` if they cannot be determined.
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

/// A post-processor that adds tokens before and after a text.
fn template(ends: &[Option<(String, u32)>], trims: bool) -> Value {
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
    parse(&if trims {
        let trims =
            r#"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}"#;
        format!(r#"{{"type":"Sequence","processors":[{trims},{template}]}}"#)
    } else {
        template
    })
}
