//! Reading of JSON configuration files, with errors that name the field, what it holds and what works.

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
        match serde_json::from_slice(bytes) {
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

    /// An activation in the spelling of transformers' `ACT2FN`.
    pub fn activation(&self, field: &str) -> Result<Activation> {
        Ok(match self.text(field)?.unwrap_or("gelu") {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            "silu" | "swish" => Activation::Silu,
            _ => {
                return Err(self.wrong(
                    field,
                    "one of gelu, gelu_new, gelu_pytorch_tanh, relu, silu",
                ));
            }
        })
    }
}
