//! Typed access to the fields of a tokenizer.json's parts. Errors name the part and the field.

use serde_json::{Map, Value};

/// The most parts of a sequence, including those of nested sequences.
const MOST_PARTS: usize = 64;
/// The deepest nesting of sequences.
const DEEPEST: usize = 8;
/// The most bytes of a text in a field.
const LONGEST: usize = 256;

/// The fields of a part.
pub struct Fields<'a> {
    /// Its type, for errors.
    pub kind: &'a str,
    map: &'a Map<String, Value>,
}

/// All parts of a sequence, flattened, in order. A single part counts as a sequence of one, null as
/// an empty one. `list` is the field of a sequence that holds its parts.
pub fn flat<'a>(json: &'a Value, name: &str, list: &str) -> Result<Vec<Fields<'a>>, String> {
    fn walk<'a>(
        json: &'a Value,
        list: &str,
        depth: usize,
        parts: &mut Vec<Fields<'a>>,
    ) -> Result<(), String> {
        let fields = Fields::new(json)?;
        if fields.kind != "Sequence" {
            parts.push(fields);
            return if parts.len() > MOST_PARTS {
                Err(format!("has more than {MOST_PARTS} parts"))
            } else {
                Ok(())
            };
        }
        if depth == DEEPEST {
            return Err(format!("has more than {DEEPEST} sequences in one another"));
        }
        let inner = fields.map.get(list).and_then(Value::as_array);
        let inner = inner.ok_or_else(|| format!("Sequence: {list} must be a list"))?;
        inner
            .iter()
            .try_for_each(|part| walk(part, list, depth + 1, parts))
    }
    let mut parts = Vec::new();
    if !json.is_null() {
        walk(json, list, 0, &mut parts).map_err(|reason| format!("{name}: {reason}"))?;
    }
    Ok(parts)
}

impl<'a> Fields<'a> {
    fn new(json: &'a Value) -> Result<Self, String> {
        let map = json.as_object().ok_or("a part must be an object")?;
        match map.get("type").and_then(Value::as_str) {
            Some(kind) => Ok(Self { kind, map }),
            None => Err("a part has no type".to_owned()),
        }
    }

    /// An error about a field.
    pub fn wrong<T>(&self, field: &str, must: &str) -> Result<T, String> {
        Err(format!("{}: {field} {must}", self.kind))
    }

    /// An error about an unknown type.
    pub fn unknown<T>(&self) -> Result<T, String> {
        Err(format!("the type {:?} is not known", self.kind))
    }

    /// A field, or null if it is missing.
    pub fn value(&self, field: &str) -> &'a Value {
        self.map.get(field).unwrap_or(&Value::Null)
    }

    /// A Boolean, or none if it is missing.
    pub fn flag(&self, field: &str) -> Result<Option<bool>, String> {
        match self.value(field) {
            Value::Null => Ok(None),
            Value::Bool(flag) => Ok(Some(*flag)),
            _ => self.wrong(field, "must be true or false"),
        }
    }

    /// A Boolean that must be there.
    pub fn must_flag(&self, field: &str) -> Result<bool, String> {
        match self.flag(field)? {
            Some(flag) => Ok(flag),
            None => self.wrong(field, "must be true or false"),
        }
    }

    /// A text of limited length.
    pub fn text(&self, field: &str) -> Result<&'a str, String> {
        match self.value(field).as_str() {
            Some(text) if text.len() <= LONGEST => Ok(text),
            _ => self.wrong(field, &format!("must be a text of at most {LONGEST} bytes")),
        }
    }

    /// A text of one character.
    pub fn character(&self, field: &str) -> Result<char, String> {
        let mut chars = self.value(field).as_str().unwrap_or_default().chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => Ok(c),
            _ => self.wrong(field, "must be one character"),
        }
    }

    /// An integer of at least `least`, or none if it is missing.
    pub fn count(&self, field: &str, least: u64) -> Result<Option<usize>, String> {
        let most = u64::from(u32::MAX);
        match self.value(field) {
            Value::Null => Ok(None),
            value => match value
                .as_u64()
                .filter(|count| (least..=most).contains(count))
            {
                Some(count) => Ok(usize::try_from(count).ok()),
                None => self.wrong(
                    field,
                    &format!("must be a whole number from {least} to {most}"),
                ),
            },
        }
    }

    /// A token and its id: `["[SEP]", 102]`.
    pub fn token(&self, field: &str) -> Result<(&'a str, u32), String> {
        let token = match self.value(field).as_array().map(Vec::as_slice) {
            Some([text, id]) => text.as_str().zip(id.as_u64()),
            _ => None,
        };
        match token.and_then(|(text, id)| Some((text, u32::try_from(id).ok()?))) {
            Some(token) => Ok(token),
            None => self.wrong(field, "must be a token and its id"),
        }
    }
}
