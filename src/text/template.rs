//! Special tokens around a text.
//!
//! | type | fields |
//! |---|---|
//! | `TemplateProcessing` | `single`: pieces with the text (`A`) once, and tokens of `special_tokens`, which have as many `ids` as `tokens` |
//! | `BertProcessing` | `cls`, `sep`: a token and its id |
//! | `RobertaProcessing` | the same; `trim_offsets`, `add_prefix_space`: true or false |
//! | `ByteLevel` | `trim_offsets`, `add_prefix_space`: true or false |
//! | `Sequence` | `processors`: at most 64 parts, at most 8 deep |
//!
//! At most 64 tokens are put around a text.

use serde_json::Value;

use super::fields::{Fields, flat};

/// The most tokens around a text.
const MOST: usize = 64;

/// Tokens around a text, and trimming of places.
#[derive(Default)]
pub struct Template {
    /// Ids and names.
    pub before: Vec<(u32, String)>,
    pub after: Vec<(u32, String)>,
    /// Trims white space from the places of tokens, in order: whether a leading space may have been
    /// added by the tokenizer.
    pub trims: Vec<bool>,
}

impl Template {
    /// Reads the field `post_processor`.
    pub fn new(json: &Value) -> Result<Self, String> {
        let mut template = Self::default();
        for fields in flat(json, "post_processor", "processors")? {
            let added = template.add(&fields);
            added.map_err(|reason| format!("post_processor: {reason}"))?;
        }
        if template.before.len() + template.after.len() > MOST {
            return Err(format!("post_processor: more than {MOST} tokens"));
        }
        Ok(template)
    }

    fn add(&mut self, fields: &Fields) -> Result<(), String> {
        match fields.kind {
            "TemplateProcessing" => {
                let (before, after) = single(fields)?;
                self.before.splice(..0, before);
                self.after.extend(after);
            }
            kind @ ("BertProcessing" | "RobertaProcessing") => {
                let token = |field| {
                    let (text, id) = fields.token(field)?;
                    Ok::<_, String>((id, text.to_owned()))
                };
                self.before.insert(0, token("cls")?);
                self.after.push(token("sep")?);
                if kind == "RobertaProcessing" {
                    self.trim(fields)?;
                }
            }
            "ByteLevel" => self.trim(fields)?,
            _ => return fields.unknown(),
        }
        Ok(())
    }

    fn trim(&mut self, fields: &Fields) -> Result<(), String> {
        let prefix = fields.must_flag("add_prefix_space")?;
        if fields.must_flag("trim_offsets")? {
            self.trims.push(prefix);
        }
        Ok(())
    }
}

type Tokens = Vec<(u32, String)>;

/// The tokens of a template before and after a text.
fn single(fields: &Fields) -> Result<(Tokens, Tokens), String> {
    let Some(pieces) = fields.value("single").as_array() else {
        return fields.wrong("single", "must be a list");
    };
    let mut tokens = Vec::new();
    let mut text = None;
    for piece in pieces {
        if let Some(name) = piece["SpecialToken"]["id"].as_str() {
            tokens.extend(special(fields, name)?);
            if tokens.len() > MOST {
                return fields.wrong("single", &format!("has more than {MOST} tokens"));
            }
        } else if piece["Sequence"]["id"] == "A" && text.is_none() {
            text = Some(tokens.len());
        } else {
            text = None;
            break;
        }
    }
    let Some(text) = text else {
        return fields.wrong(
            "single",
            "must have the sequence A once, and special tokens",
        );
    };
    let after = tokens.split_off(text);
    Ok((tokens, after))
}

/// The tokens of a special token's name.
fn special(fields: &Fields, name: &str) -> Result<Tokens, String> {
    let token = &fields.value("special_tokens")[name];
    let list = |field: &str| token[field].as_array().map_or(&[][..], Vec::as_slice);
    let (ids, names) = (list("ids"), list("tokens"));
    let pairs = ids.iter().zip(names).map(|(id, name)| {
        let id = u32::try_from(id.as_u64()?).ok()?;
        Some((id, name.as_str()?.to_owned()))
    });
    let pairs: Option<Tokens> = pairs.collect();
    match pairs.filter(|pairs| !pairs.is_empty() && ids.len() == names.len()) {
        Some(pairs) => Ok(pairs),
        None => fields.wrong(
            "special_tokens",
            &format!("must have as many ids as tokens for {name:?}, which single names"),
        ),
    }
}
