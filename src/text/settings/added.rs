//! Added and special tokens, which texts are split at first: the list that transformers builds from
//! all files.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use serde_json::Value;

use super::classes::{Class, Kind};
use super::files::{Fields, Settings, wrong};
use super::token::{added, content_of, token};
use crate::error::{Error, Result};
use crate::text::model::Model;
use crate::text::parts::{Added, AddedToken, Parts};

const ATTRIBUTES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

impl Settings {
    /// Sets the added tokens to those that transformers has.
    pub fn add_tokens(
        &self,
        parts: &mut Parts,
        class: Option<&Class>,
        changes: &mut String,
    ) -> Result<()> {
        // Tokens that files list, sorted by the ids in the files. Only the order matters.
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
            // This class adds them once more, without their properties.
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

    /// The special tokens with fields of their own. The flag is whether only the class names the
    /// token.
    fn named(&self, class: Option<&Class>) -> Result<Vec<(AddedToken, bool)>> {
        let mut named = Vec::new();
        for field in ATTRIBUTES {
            match (self.get(field), class.and_then(|class| class.token(field))) {
                (Some(Value::Null), _) | (None, None) => {}
                (Some(value), default) => {
                    let mut token = token(field, value, true)?;
                    // A token that is a plain string has the properties that the class gives it.
                    token.lstrip |= value.is_string() && default.is_some_and(|token| token.lstrip);
                    named.push((token, false));
                }
                (None, Some(token)) => named.push((token, true)),
            }
        }
        // Special tokens of this model alone: other fields that end with `_token`, and those of an
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

    /// Special tokens without fields of their own, with the flag whether only the class names the
    /// token; and whether they come from `extra_special_tokens`.
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
}

/// Added tokens and their ids.
#[derive(Clone)]
struct List<'a> {
    tokens: Vec<Added>,
    /// Index of the last token with each content.
    places: HashMap<String, usize>,
    /// The id of the next token that is not in the vocabulary.
    next: u32,
    model: &'a Model,
}

impl List<'_> {
    /// Whether the list has the token with the same properties.
    fn has(&self, token: &AddedToken) -> bool {
        let place = self.places.get(&token.content);
        place.is_some_and(|place| self.tokens[*place].token == *token)
    }

    /// Whether both lists find the same tokens in every text.
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
