//! Reading of JSON configuration files, with errors that name the field, what it holds and what
//! works.

use serde_json::{Map, Value};

use crate::backend::Activation;
use crate::error::{Error, Result};

/// A parsed configuration file.
#[derive(Clone, Debug)]
pub struct Config {
    file: String,
    fields: Map<String, Value>,
}

impl Config {
    /// Parses `bytes`, which must hold a JSON object.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        match json(bytes) {
            Ok(Value::Object(fields)) => Ok(Self {
                file: file.to_owned(),
                fields,
            }),
            Ok(_) => Err(Error::config(
                file,
                "must hold a JSON object; download it again",
            )),
            Err(error) => Err(Error::config(
                file,
                format!("is not valid JSON ({error}); download it again"),
            )),
        }
    }

    /// The fields of an object that `field` holds; errors name both.
    #[must_use]
    pub fn inner(&self, field: &str, fields: Map<String, Value>) -> Self {
        Self {
            file: format!("{}: {field}", self.file),
            fields,
        }
    }

    /// Its path, and the field that holds it, if it is a part of a file.
    pub fn name(&self) -> &str {
        &self.file
    }

    /// Names of its fields.
    pub fn fields(&self) -> impl Iterator<Item = &String> {
        self.fields.keys()
    }

    /// Sets fields to what arguments of a call say; those that the file lacks are refused.
    pub fn override_by(&mut self, arguments: &Map<String, Value>) -> Result<()> {
        for (field, value) in arguments {
            match self.fields.get_mut(field) {
                Some(own) => *own = value.clone(),
                None if matches!(
                    field.as_str(),
                    "trust_remote_code" | "revision" | "use_cache"
                ) => {}
                None => {
                    let wanted = format!("there, since config_kwargs sets it to {value}");
                    return Err(self.wrong(field, &wanted));
                }
            }
        }
        Ok(())
    }

    /// Whether the field is there and null, where that differs from an absent field.
    pub fn is_null(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(Value::is_null)
    }

    /// All of its fields.
    pub fn into_fields(self) -> Map<String, Value> {
        self.fields
    }

    /// An error about `field`.
    pub fn wrong(&self, field: &str, wanted: &str) -> Error {
        let held = match self.fields.get(field) {
            Some(value) => format!("{field} is {value}"),
            None => format!("{field} is missing"),
        };
        Error::config(&self.file, format!("{held}; it must be {wanted}"))
    }

    /// The field's value, unless absent or null.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// Refuses the field unless it is absent, null or one of `allowed`.
    pub fn only(&self, field: &str, allowed: &[Value]) -> Result<()> {
        match self.get(field) {
            Some(value) if !allowed.contains(value) => {
                let listed: Vec<_> = allowed.iter().map(Value::to_string).collect();
                let wanted = if listed.is_empty() {
                    "absent".to_owned()
                } else {
                    listed.join(" or ")
                };
                Err(self.wrong(field, &wanted))
            }
            _ => Ok(()),
        }
    }

    /// A whole number from 1 to `most`.
    pub fn size(&self, field: &str, most: usize) -> Result<usize> {
        let wanted = || self.wrong(field, &format!("a whole number from 1 to {most}"));
        let value = self.get(field).and_then(Value::as_u64).ok_or_else(wanted)?;
        usize::try_from(value)
            .ok()
            .filter(|value| (1..=most).contains(value))
            .ok_or_else(wanted)
    }

    /// As [`Config::size`]; `default` where the field is absent.
    pub fn size_or(&self, field: &str, default: usize, most: usize) -> Result<usize> {
        if self.get(field).is_none() {
            Ok(default)
        } else {
            self.size(field, most)
        }
    }

    /// A small positive number, such as a norm's epsilon.
    pub fn epsilon(&self, field: &str, default: f32) -> Result<f32> {
        match self.get(field) {
            None => Ok(default),
            #[expect(clippy::cast_possible_truncation, reason = "an epsilon needs no f64")]
            Some(value) => match value.as_f64() {
                Some(value) if (0.0..1.0).contains(&value) => Ok(value as f32),
                _ => Err(self.wrong(field, "a number from 0 to 1")),
            },
        }
    }

    /// A string.
    pub fn text(&self, field: &str) -> Result<Option<&str>> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(field, "a string")),
        }
    }

    /// A flag; absent counts as `default`.
    pub fn flag(&self, field: &str, default: bool) -> Result<bool> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(field, "true or false")),
        }
    }

    /// A flag of a file whose other contents do not matter here: anything but `true` is false.
    pub fn flag_or_false(&self, field: &str) -> bool {
        self.get(field).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A number.
    pub fn number(&self, field: &str, default: f64) -> Result<f64> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| self.wrong(field, "a number")),
        }
    }

    /// A number above 0.
    pub fn positive(&self, field: &str, default: f64) -> Result<f64> {
        match self.number(field, default) {
            Ok(value) if value > 0.0 => Ok(value),
            _ => Err(self.wrong(field, "a number above 0")),
        }
    }

    /// Buckets of a relative bias that reaches to `max_distance`.
    pub fn buckets(&self, field: &str, default: usize, max_distance: usize) -> Result<usize> {
        const MOST: usize = 1 << 12;
        let buckets = self.size_or(field, default, MOST)?;
        // A quarter of them are exact distances, which must be some, and fewer than there are
        // distances.
        if buckets.is_multiple_of(4) && buckets / 4 < max_distance {
            Ok(buckets)
        } else {
            let most = MOST.min(4 * (max_distance.max(2) - 1));
            Err(self.wrong(field, &format!("a multiple of 4 from 4 to {most}")))
        }
    }

    /// An activation in the spelling of transformers' `ACT2FN`.
    pub fn activation(&self, field: &str, default: &str) -> Result<Activation> {
        self.named_activation(field, self.text(field)?.unwrap_or(default))
    }

    /// The activation called `name`; errors are about `field`.
    pub fn named_activation(&self, field: &str, name: &str) -> Result<Activation> {
        Ok(match name {
            "gelu" | "gelu_python" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast"
            | "gelu_accurate" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            "silu" | "swish" => Activation::Silu,
            "tanh" => Activation::Tanh,
            "sigmoid" => Activation::Sigmoid,
            "linear" => Activation::Identity,
            _ => {
                return Err(self.wrong(
                    field,
                    "one of gelu, gelu_new, gelu_pytorch_tanh, relu, silu, tanh, sigmoid, linear",
                ));
            }
        })
    }
}

/// Parses JSON as Python writes it: a byte-order mark is skipped, and NaN, Infinity and -Infinity
/// are read as strings, which no field that Gossamer uses accepts.
pub fn json(bytes: &[u8]) -> serde_json::Result<Value> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(bytes).or_else(|error| match quote_numbers(bytes) {
        Some(quoted) => serde_json::from_slice(&quoted).map_err(|_| error),
        None => Err(error),
    })
}

/// Puts quotes around Python's numbers that JSON lacks; none if there are no such numbers.
fn quote_numbers(bytes: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut quoted = Vec::with_capacity(bytes.len());
    let (mut rest, mut found, mut in_string) = (bytes, false, false);
    while let [first, after @ ..] = rest {
        let word = WORDS
            .iter()
            .find(|word| !in_string && rest.starts_with(word));
        if let Some(word) = word {
            quoted.push(b'"');
            quoted.extend_from_slice(word);
            quoted.push(b'"');
            rest = &rest[word.len()..];
            found = true;
            continue;
        }
        quoted.push(*first);
        rest = after;
        match first {
            b'"' => in_string = !in_string,
            // The escaped character ends no string.
            b'\\' if in_string => {
                if let [escaped, after @ ..] = rest {
                    quoted.push(*escaped);
                    rest = after;
                }
            }
            _ => {}
        }
    }
    found.then_some(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_python_is_read() {
        let text = "\u{feff}{\"a\": NaN, \"b\": [-Infinity, Infinity], \"c\": \"NaN \\\" Infinity\", \"d\": 1}";
        let config = Config::parse("config.json", text.as_bytes()).unwrap();
        assert_eq!(config.get("c").unwrap(), "NaN \" Infinity");
        assert_eq!(config.size("d", 8).unwrap(), 1);
        let error = config.number("a", 1.0).unwrap_err().to_string();
        assert!(
            error.contains("a is \"NaN\"; it must be a number"),
            "{error}"
        );
        for comment in ["{} // no", "{/* no */}", "{\"a\": NaNs}"] {
            assert!(
                Config::parse("config.json", comment.as_bytes()).is_err(),
                "{comment}"
            );
        }
    }
}
