//! Reads the JSON of a request's body into the few shapes that requests have: fields by name, texts
//! and lists of token ids. Everything else is skipped while it is parsed, so that the memory stays
//! proportional to the size of the body, however it is nested.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::MAX_INPUTS;
use crate::error::{Error, Result};
use crate::text::{Direction, Input};

/// The levels of nesting that are kept: the object, the list of its inputs, a list of token ids.
const LEVELS: u8 = 3;

/// Finds the field of this name that is kept, and whether it may hold a list or an object.
pub type Known = fn(&str) -> Option<(&'static str, bool)>;

/// An object.
#[derive(Debug, Default)]
pub struct Body {
    fields: Vec<(&'static str, Field)>,
    /// The first field that is not known, unless it is null.
    unknown: Option<String>,
}

/// A document of a request that ranks documents.
#[derive(Debug)]
pub struct Document {
    /// Its text.
    pub text: String,
    /// Whether it is an object that has other fields too.
    pub has_more: bool,
}

/// A value.
#[derive(Debug, Default)]
pub enum Field {
    /// Null, or a field that is missing.
    #[default]
    Null,
    /// true or false
    Bool(bool),
    /// A whole number from 0 to 2^64 − 1.
    Whole(u64),
    /// Another number.
    Number(f64),
    /// A string.
    Text(String),
    /// A list of token ids.
    Ids(Vec<u32>),
    /// A list that begins with a token id: the index of the first element that is none, and that
    /// element.
    Mixed(usize, Box<Field>),
    /// Another list: its first elements, as many as a request may have, and its length.
    List(Vec<Field>, usize),
    /// An object.
    Object(Body),
}

/// Reads a body, and keeps its known fields. The error says why it is not JSON.
pub fn read(mut bytes: Vec<u8>, known: Known) -> Result<Field, String> {
    if let Err(error) = std::str::from_utf8(&bytes) {
        let at = error.valid_up_to();
        return Err(format!(
            "its bytes are not UTF-8 from byte {at} on; encode it as UTF-8"
        ));
    }
    mend(&mut bytes);
    // RFC 8259 allows parsers to ignore a byte-order mark.
    let json = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    if json.is_empty() {
        return Ok(Field::Null);
    }
    let reader = Reader {
        levels: LEVELS,
        most: MAX_INPUTS,
        known,
    };
    let mut json = serde_json::Deserializer::from_slice(json);
    let value = reader.deserialize(&mut json);
    value
        .and_then(|value| json.end().map(|()| value))
        .map_err(|error| error.to_string())
}

/// Replaces escapes of lone surrogates by that of U+FFFD, as encoders of UTF-8 do.
fn mend(json: &mut [u8]) {
    /// Returns the UTF-16 code unit whose escape begins at `at`.
    fn unit(json: &[u8], at: usize) -> Option<u32> {
        let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
    let mut at = 0;
    while let Some(next) = json
        .get(at..)
        .and_then(|rest| rest.iter().position(|byte| *byte == b'\\'))
    {
        at += next;
        at += match unit(json, at) {
            // The character after a backslash belongs to that escape.
            None => 2,
            Some(0xD800..=0xDBFF) if matches!(unit(json, at + 6), Some(0xDC00..=0xDFFF)) => 12,
            Some(0xD800..=0xDFFF) => {
                json[at + 2..at + 6].copy_from_slice(b"fffd");
                6
            }
            Some(_) => 6,
        };
    }
}

/// Reads a value. What is nested deeper than `levels` is skipped, and so are the elements of a list
/// beyond `most`.
#[derive(Clone, Copy)]
pub struct Reader {
    /// The levels of lists and objects that are kept.
    pub levels: u8,
    /// The most elements of a list that are kept. Lists of token ids are kept whole.
    pub most: usize,
    /// The fields of objects that are kept.
    pub known: Known,
}

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Field, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Field, E> {
        Ok(Field::Bool(value))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "no field distinguishes such negative numbers"
    )]
    fn visit_i64<E>(self, value: i64) -> Result<Field, E> {
        Ok(u64::try_from(value).map_or(Field::Number(value as f64), Field::Whole))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Field, E> {
        Ok(Field::Whole(value))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "in the range of u64"
    )]
    fn visit_f64<E>(self, value: f64) -> Result<Field, E> {
        // 2^64, the first number that is out of the range.
        let whole = value.fract() == 0.0 && (0.0..18_446_744_073_709_551_616.0).contains(&value);
        Ok(if whole {
            Field::Whole(value as u64)
        } else {
            Field::Number(value)
        })
    }

    fn visit_str<E>(self, value: &str) -> Result<Field, E> {
        Ok(Field::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Field, E> {
        Ok(Field::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Field, A::Error> {
        let Some(levels) = self.levels.checked_sub(1) else {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Field::List(Vec::new(), 0));
        };
        // Of a list in a list, only token ids are kept, or two elements, which may be a pair of
        // texts.
        let one = Self {
            levels,
            most: 2,
            ..self
        };
        let (mut items, mut count, mut ids, mut mixed) = (Vec::new(), 0, Vec::new(), None);
        while mixed.is_none() && (count < self.most || !ids.is_empty() || count == 0) {
            let Some(item) = list.next_element_seed(one)? else {
                break;
            };
            count += 1;
            match item {
                Field::Whole(number) if items.is_empty() => match u32::try_from(number) {
                    Ok(id) => ids.push(id),
                    Err(_) => mixed = Some(item),
                },
                Field::Number(_) if items.is_empty() => mixed = Some(item),
                other if ids.is_empty() => items.push(other),
                other => mixed = Some(other),
            }
        }
        items.truncate(self.most);
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(match mixed {
            Some(other) => Field::Mixed(ids.len(), Box::new(other)),
            None if ids.is_empty() => Field::List(items, count),
            None => Field::Ids(ids),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
        let mut body = Body::default();
        let Some(levels) = self.levels.checked_sub(1) else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Field::Object(body));
        };
        let keys = Self {
            levels: 0,
            most: 0,
            ..self
        };
        while let Some(Field::Text(key)) = map.next_key_seed(keys)? {
            let known = (self.known)(&key);
            let levels = match known {
                Some((_, true)) => levels,
                _ => 0,
            };
            let value = map.next_value_seed(Self { levels, ..self })?;
            match known {
                Some((name, _)) => body.set(name, value),
                None if matches!(value, Field::Null) => {}
                None => {
                    body.unknown.get_or_insert(key);
                }
            }
        }
        Ok(Field::Object(body))
    }
}

impl Field {
    /// Describes the value for messages.
    fn kind(&self) -> String {
        let kind = match self {
            Self::Null => "missing or null",
            Self::Bool(_) => "a boolean",
            Self::Whole(number) => return format!("the number {number}"),
            Self::Number(number) => return format!("the number {number}"),
            Self::Text(_) => "a string",
            Self::Ids(_) | Self::Mixed(..) | Self::List(..) => "a list",
            Self::Object(_) => "an object",
        };
        kind.to_owned()
    }

    /// Reads `string | [string] | [id] | [[id]]`. A list may mix texts and lists of ids. `param` is
    /// the name of the field.
    pub fn inputs(self, param: &'static str) -> Result<Vec<Input>> {
        match self {
            Self::Text(text) => Ok(vec![Input::Text(text)]),
            Self::Ids(ids) => Ok(vec![Input::Ids(ids)]),
            Self::List(items, count) => {
                let items = all(items, count)?.into_iter().enumerate();
                items
                    .map(|(index, item)| item.input(param, index))
                    .collect()
            }
            other => Err(other.wrong(param, "")),
        }
    }

    /// An element of a list of inputs.
    fn input(self, param: &'static str, index: usize) -> Result<Input> {
        match self {
            Self::Text(text) => Ok(Input::Text(text)),
            Self::Ids(ids) => Ok(Input::Ids(ids)),
            Self::List(_, 0) => Err(Error::EmptyInput(format!(
                "{param}[{index}] is an empty list of token ids; leave it out"
            ))),
            other => Err(other.wrong(param, &format!("[{index}]"))),
        }
    }

    /// The error of a value that is no input. `place` is its index in brackets, or empty.
    fn wrong(&self, param: &'static str, place: &str) -> Error {
        let what = match self {
            Self::Mixed(at, other) => match **other {
                Self::Whole(number) => return too_large(&number),
                Self::Number(number) if number > 0.0 && number.fract() == 0.0 => {
                    return too_large(&number);
                }
                _ => format!("[{at}] is {}", other.kind()),
            },
            other => format!(" is {}", other.kind()),
        };
        Error::input(
            param,
            format!(
                "{param}{place}{what}; pass a string, a list of strings, a list of token ids (whole numbers), or a list of such lists"
            ),
        )
    }
}

/// The error of a number that is too large for a token id.
fn too_large(id: &dyn ToString) -> Error {
    Error::TokenTooLarge { id: id.to_string() }
}

/// Returns the elements of a list. `count` is its length, which is more if there are too many.
pub fn all(items: Vec<Field>, count: usize) -> Result<Vec<Field>> {
    if count > items.len() {
        return Err(Error::TooManyInputs {
            got: count,
            limit: MAX_INPUTS,
        });
    }
    Ok(items)
}

impl Body {
    /// Takes a value that must be an object.
    pub fn of(value: Field) -> Result<Self> {
        match value {
            Field::Object(body) => Ok(body),
            _ => Err(Error::input(
                "body",
                "the body must be a JSON object with the texts as `input`, `inputs` or `texts`, as the route has it",
            )),
        }
    }

    /// Sets a field. If a name occurs twice, the last value counts.
    fn set(&mut self, name: &'static str, value: Field) {
        self.fields.retain(|(other, _)| *other != name);
        self.fields.push((name, value));
    }

    /// Returns a field, or null if it is missing.
    pub fn get(&self, name: &str) -> &Field {
        let mut fields = self.fields.iter();
        let found = fields.find(|(other, _)| *other == name);
        found.map_or(&Field::Null, |(_, value)| value)
    }

    /// Whether a field is present. It may be null.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(other, _)| *other == name)
    }

    /// Takes a field out; null if it is missing.
    pub fn take(&mut self, name: &str) -> Field {
        let mut fields = self.fields.iter_mut();
        let found = fields.find(|(other, _)| *other == name);
        found.map_or(Field::Null, |(_, value)| std::mem::take(value))
    }

    /// Errors if there is a field other than these that is not null.
    pub fn only(&self, known: &[&str]) -> Result<()> {
        let given = self.fields.iter();
        let given = given.filter(|(_, value)| !matches!(value, Field::Null));
        let mut names = given.map(|(name, _)| *name).chain(self.unknown.as_deref());
        let Some(name) = names.find(|name| !known.contains(name)) else {
            return Ok(());
        };
        // The name may be of any length.
        let short: String = name.chars().take(40).collect();
        let meant = known.iter().find(|known| alike(known, &short));
        let advice = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the fields are {}", known.join(", ")),
        };
        Err(Error::input(
            "body",
            format!("there is no field `{short}`: {advice}"),
        ))
    }

    /// Takes a field that is `true` or `false`.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>> {
        match self.take(name) {
            Field::Null => Ok(None),
            Field::Bool(value) => Ok(Some(value)),
            other => Err(unlike(name, &other, "true or false")),
        }
    }

    /// Takes a string.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        match self.take(name) {
            Field::Null => Ok(None),
            Field::Text(text) => Ok(Some(text)),
            other => Err(unlike(name, &other, "a string")),
        }
    }

    /// Takes a string that is one of `words`, and returns the value of that word.
    pub fn word<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Result<Option<T>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| Some(*value)).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let short: String = text.chars().take(40).collect();
            let reason = format!(
                "{name} is {short:?}; it must be one of {}",
                words.join(", ")
            );
            Error::input(name, reason)
        })
    }

    /// Takes a whole number.
    pub fn whole(&mut self, name: &'static str) -> Result<Option<u64>> {
        match self.take(name) {
            Field::Null => Ok(None),
            Field::Whole(number) => Ok(Some(number)),
            other => Err(unlike(name, &other, "a whole number of 1 or more")),
        }
    }

    /// Takes the end that is cut off, in either spelling of the field.
    pub fn direction(&mut self) -> Result<Direction> {
        let words = [
            ("left", Direction::Left),
            ("right", Direction::Right),
            ("Left", Direction::Left),
            ("Right", Direction::Right),
        ];
        let one = self.word("truncation_direction", &words)?;
        let other = self.word("truncate_direction", &words)?;
        if one.zip(other).is_some_and(|(one, other)| one != other) {
            return Err(Error::input(
                "truncation_direction",
                "truncation_direction and truncate_direction contradict each other: pass one of them",
            ));
        }
        Ok(one.or(other).unwrap_or_default())
    }

    /// Takes a list of strings.
    pub fn strings(&mut self, name: &'static str) -> Result<Vec<String>> {
        self.list(name, "a list of strings", |item| match item {
            Field::Text(text) => Ok(text),
            other => Err(other),
        })
    }

    /// Takes a list of strings as inputs.
    pub fn texts(&mut self, name: &'static str) -> Result<Vec<Input>> {
        let strings = self.strings(name)?.into_iter();
        Ok(strings.map(Input::Text).collect())
    }

    /// Takes a list of documents: strings, or objects with a string `text`.
    pub fn documents(&mut self, name: &'static str) -> Result<Vec<Document>> {
        let what = "a list of strings, or of objects with a string `text`";
        self.list(name, what, |item| match item {
            Field::Text(text) => Ok(Document {
                text,
                has_more: false,
            }),
            Field::Object(mut body) => {
                let has_more = body.only(&["text"]).is_err();
                match body.take("text") {
                    Field::Text(text) => Ok(Document { text, has_more }),
                    _ => Err(Field::Object(body)),
                }
            }
            other => Err(other),
        })
    }

    /// Takes a list of objects.
    pub fn objects(&mut self, name: &'static str) -> Result<Vec<Body>> {
        self.list(name, "a list of objects", |item| match item {
            Field::Object(body) => Ok(body),
            other => Err(other),
        })
    }

    fn list<T>(
        &mut self,
        name: &'static str,
        what: &str,
        read: fn(Field) -> Result<T, Field>,
    ) -> Result<Vec<T>> {
        let (items, count) = match self.take(name) {
            Field::List(items, count) => (items, count),
            other => return Err(unlike(name, &other, what)),
        };
        let items = all(items, count)?.into_iter().enumerate();
        let one = |(index, item)| {
            read(item).map_err(|item| {
                let kind = item.kind();
                Error::input(
                    name,
                    format!("{name}[{index}] is {kind}; {name} must be {what}"),
                )
            })
        };
        items.map(one).collect()
    }

    /// Takes an object.
    pub fn object(&mut self, name: &'static str) -> Result<Option<Body>> {
        match self.take(name) {
            Field::Null => Ok(None),
            Field::Object(body) => Ok(Some(body)),
            other => Err(unlike(name, &other, "an object")),
        }
    }
}

/// The error of a field that is not `what`.
fn unlike(name: &'static str, field: &Field, what: &str) -> Error {
    Error::input(
        name,
        format!("{name} is {}; it must be {what}", field.kind()),
    )
}

/// Whether two names differ by at most two letters, without regard to case and underscores.
fn alike(a: &str, b: &str) -> bool {
    let plain = |name: &str| -> Vec<u8> {
        let letters = name.bytes().filter(|byte| *byte != b'_');
        letters.map(|byte| byte.to_ascii_lowercase()).collect()
    };
    let (a, b) = (plain(a), plain(b));
    // The Levenshtein distance, computed row by row.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()] <= 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::body::read;
    use serde_json::json;

    fn input(body: &serde_json::Value) -> Result<Vec<Input>> {
        let body = json!({ "input": body }).to_string();
        let mut body = Body::of(read(body.into_bytes()).unwrap()).unwrap();
        body.take("input").inputs("input")
    }

    #[test]
    fn all_shapes_are_read() {
        let text = |text: &str| Input::Text(text.to_owned());
        assert_eq!(input(&json!("a")).unwrap(), [text("a")]);
        assert_eq!(input(&json!(["a", "b"])).unwrap(), [text("a"), text("b")]);
        assert_eq!(input(&json!([1, 2])).unwrap(), [Input::Ids(vec![1, 2])]);
        assert_eq!(
            input(&json!([[1], [2, 3], "a"])).unwrap(),
            [Input::Ids(vec![1]), Input::Ids(vec![2, 3]), text("a")]
        );
        assert_eq!(input(&json!([])).unwrap(), []);
        assert_eq!(input(&json!([7.0])).unwrap(), [Input::Ids(vec![7])]);
    }

    #[test]
    fn an_id_beyond_32_bits_is_named_as_it_was_sent() {
        for (value, id) in [
            (json!([1_u64 << 40]), "1099511627776"),
            (json!([[1, 2], [3, 4_294_967_296_u64]]), "4294967296"),
            // A f64 cannot hold it.
            (json!([9_007_199_254_740_993_u64]), "9007199254740993"),
            (json!([u64::MAX]), "18446744073709551615"),
            (json!([1e20]), "100000000000000000000"),
        ] {
            let error = input(&value).unwrap_err();
            assert_eq!(error.code(), "token_out_of_range", "{value}");
            let words = format!("token id {id} is");
            assert!(error.to_string().starts_with(&words), "{error}");
        }
        assert_eq!(
            input(&json!([u32::MAX])).unwrap(),
            [Input::Ids(vec![u32::MAX])]
        );
    }

    #[test]
    fn anything_else_is_an_error_in_words() {
        for (value, part) in [
            (json!(null), "input is missing"),
            (json!(7), "input is the number 7"),
            (json!({"a": 1}), "input is an object"),
            (json!(["a", null]), "input[1] is missing or null"),
            (json!([null]), "input[0] is missing or null"),
            (json!([[1], [2, "a"]]), "input[1][1] is a string"),
            (json!([["a"]]), "input[0] is a list"),
            (json!([1.5]), "input[0] is the number 1.5"),
            (json!([-1]), "input[0] is the number -1"),
            (json!([1, "a"]), "input[1] is a string"),
            (json!(["a", 1]), "input[1] is the number 1"),
        ] {
            let error = input(&value).unwrap_err();
            assert_eq!(error.code(), "invalid_input", "{value}");
            assert!(error.to_string().contains(part), "{value}: {error}");
        }
        assert_eq!(input(&json!([[]])).unwrap_err().code(), "empty_input");
        let many = json!(vec!["a"; MAX_INPUTS + 1]);
        let error = input(&many).unwrap_err();
        assert!(error.to_string().starts_with("2049 inputs"), "{error}");
        assert_eq!(
            input(&json!(vec!["a"; MAX_INPUTS])).unwrap().len(),
            MAX_INPUTS
        );
    }

    #[test]
    fn halves_of_surrogate_pairs_become_replacement_characters() {
        for (escaped, text) in [
            (r"Good \ud83d", "Good \u{fffd}"),
            (r"\ud83d\ude00 \uDE00", "\u{1f600} \u{fffd}"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (r"\ude00\ud83dx", "\u{fffd}\u{fffd}x"),
            // No escape: a backslash, and letters.
            (r"\\ud83d", "\\ud83d"),
            (r"\\\ud83d", "\\\u{fffd}"),
        ] {
            let body = format!(r#"{{"text": "{escaped}"}}"#).into_bytes();
            let mut body = Body::of(read(body).unwrap()).unwrap();
            assert_eq!(body.text("text").unwrap().unwrap(), text, "{escaped}");
        }
        for broken in [
            r#"{"text": "\"#,
            r#"{"text": "\ud83"#,
            r#"{"text": "\ud83d"#,
        ] {
            assert!(read(broken.as_bytes().to_vec()).is_err());
        }
    }

    #[test]
    fn a_body_is_utf_8_with_or_without_a_mark() {
        assert!(read(b"{\"input\": \"caf\xE9\"}".to_vec()).is_err());
        // In a field that is skipped, too.
        assert!(read(b"{\"other\": \"\xE9\"}".to_vec()).is_err());
        let marked = read(b"\xEF\xBB\xBF{}".to_vec()).unwrap();
        assert!(matches!(marked, Field::Object(_)));
        assert!(matches!(read(Vec::new()).unwrap(), Field::Null));
        assert!(read(b"{} {}".to_vec()).is_err());
    }

    #[test]
    fn unknown_fields_are_named_and_nulls_passed_over() {
        let body = |json: &str| Body::of(read(json.as_bytes().to_vec()).unwrap()).unwrap();
        let known = ["input", "dimensions", "encoding_format"];
        body(r#"{"input": "a", "input_type": null, "truncate": null}"#)
            .only(&known)
            .unwrap();
        for (json, part) in [
            (
                r#"{"dimension": 5}"#,
                "no field `dimension`: did you mean `dimensions`?",
            ),
            (
                r#"{"encodingFormat": "float"}"#,
                "did you mean `encoding_format`?",
            ),
            (r#"{"inputs": "a"}"#, "did you mean `input`?"),
            (
                r#"{"input_type": "query"}"#,
                "no field `input_type`: the fields are input, dimensions",
            ),
        ] {
            let error = body(json).only(&known).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
