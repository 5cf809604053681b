//! Special tokens around a text, or around the two texts of a pair.
//!
//! | type | fields |
//! |---|---|
//! | `TemplateProcessing` | `single`: pieces with the text (`A`) once, and tokens of `special_tokens`, which have as many `ids` as `tokens`; `pair`: the same with a second text (`B`), and `type_id`s |
//! | `BertProcessing` | `cls`, `sep`: a token and its id |
//! | `RobertaProcessing` | the same; `trim_offsets`, `add_prefix_space`: true or false |
//! | `ByteLevel` | `trim_offsets`, `add_prefix_space`: true or false |
//! | `Sequence` | `processors`: at most 64 parts, at most 8 deep |
//!
//! At most 64 tokens are put around a text. A `pair` that cannot be used is an error for models
//! that take pairs only.

use serde_json::Value;

use super::fields::{Fields, flat};
use super::pair::{Pair, Piece};

/// The most tokens around a text.
const MOST: usize = 64;

/// Id and name of a special token.
pub type SpecialToken = (u32, String);

/// What is put around a text.
#[derive(Default)]
pub struct Template {
    /// Ids and names.
    pub before: Vec<SpecialToken>,
    pub after: Vec<SpecialToken>,
    /// How places of tokens lose the space around them: whether a first space may have been put
    /// there. In order.
    pub trims: Vec<bool>,
    /// What becomes of two texts; none if the file does not say it in a form that is known.
    pub pair: Option<Pair>,
}

impl Template {
    /// Reads the field `post_processor`.
    pub fn new(json: &Value) -> Result<Self, String> {
        let mut template = Self::default();
        let mut pairs = Vec::new();
        for fields in flat(json, "post_processor", "processors")? {
            if fields.kind != "ByteLevel" {
                pairs.push(pair(&fields));
            }
            let added = template.add(&fields);
            added.map_err(|reason| format!("post_processor: {reason}"))?;
        }
        if template.before.len() + template.after.len() > MOST {
            return Err(format!("post_processor: more than {MOST} tokens"));
        }
        // A second template would be given what the first one has made one text of.
        template.pair = match pairs.len() {
            0 => Some(Pair::default()),
            1 => pairs.pop().flatten(),
            _ => None,
        };
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

type Tokens = Vec<SpecialToken>;

/// What a template has before and after a text.
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

/// The tokens of a name.
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

/// What a template makes of two texts, if it has each of them once.
fn pair(fields: &Fields) -> Option<Pair> {
    if fields.kind != "TemplateProcessing" {
        let [cls, sep] = ["cls", "sep"].map(|field| fields.token(field).ok().map(|(_, id)| id));
        let (before, after) = (vec![cls?], vec![sep?]);
        return Some(if fields.kind == "BertProcessing" {
            Pair::bert(&before, &after)
        } else {
            Pair::roberta(&before, &after)
        });
    }
    let mut pieces = Vec::new();
    for piece in fields.value("pair").as_array()? {
        let (kind, value) = piece.as_object()?.iter().next()?;
        let type_id = u32::try_from(value["type_id"].as_u64()?).ok()?;
        let id = value["id"].as_str()?;
        match (kind.as_str(), id) {
            ("Sequence", "A") => pieces.push((Piece::First, type_id)),
            ("Sequence", "B") => pieces.push((Piece::Second, type_id)),
            ("SpecialToken", name) => {
                let tokens = special(fields, name).ok()?.into_iter();
                pieces.extend(tokens.map(|(id, _)| (Piece::Token(id), type_id)));
            }
            _ => return None,
        }
        if pieces.len() > MOST {
            return None;
        }
    }
    Pair::new(pieces)
}
