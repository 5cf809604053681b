//! `TensorProto`: an initializer's description, and values that are not handed on as they arrive.

use std::collections::HashMap;

use super::MOST_KEPT;
use super::graph::Id;
use super::proto::{self, Value};

/// What is known of a `TensorProto`.
#[derive(Default)]
pub struct Tensor {
    /// Its name.
    pub name: Option<String>,
    /// Its shape.
    pub dims: Vec<u64>,
    /// ONNX's number of its type.
    pub dtype: u64,
    /// Values that are no raw bytes, or came before the name; and the field that they were in.
    pub values: Option<(u32, Vec<u8>)>,
    /// Whether its values are in another file.
    pub is_external: bool,
    /// Where they are there.
    pub entries: HashMap<String, String>,
    /// Whether raw values have been handed on.
    pub is_done: bool,
}

/// Where an initializer's values are, in a file beside this one.
pub struct External {
    /// The initializer.
    pub id: Id,
    /// The file, from this one's folder on.
    pub location: String,
    /// Their place in it.
    pub start: u64,
    /// Their bytes.
    pub size: u64,
}

impl Tensor {
    /// Takes a field that is here in whole.
    pub fn take(&mut self, field: u32, value: Value) -> core::result::Result<(), &'static str> {
        match (field, value) {
            (1, value) => {
                let dims = &mut self.dims;
                proto::numbers(value, |size| dims.push(size))?;
                if dims.len() > 8 {
                    return Err("an initializer has more than 8 dimensions");
                }
            }
            (2, Value::Varint(dtype)) => self.dtype = dtype,
            (8, value) => self.name = Some(proto::text(value)?),
            (13, value) => {
                let (mut key, mut text) = (String::new(), String::new());
                proto::fields(proto::bytes(value)?, |field, value| match field {
                    1 => proto::text(value).map(|value| key = value),
                    2 => proto::text(value).map(|value| text = value),
                    _ => Ok(()),
                })?;
                if self.entries.len() > 8 {
                    return Err("an initializer is at more than one place");
                }
                self.entries.insert(key, text);
            }
            (14, Value::Varint(place)) => self.is_external = place == 1,
            (2 | 14, _) => return Err("a type is stored as no whole number"),
            (3 | 6, _) => return Err("an initializer is cut into segments, or holds strings"),
            (4 | 5 | 7 | 9 | 10 | 11, value) => {
                let (own, values) = self.values.get_or_insert_with(|| (field, Vec::new()));
                if *own != field {
                    return Err("an initializer has values twice");
                }
                match value {
                    Value::Bytes(bytes) => values.extend_from_slice(bytes),
                    Value::Fixed32(bytes) => values.extend_from_slice(&bytes),
                    Value::Fixed64(bytes) => values.extend_from_slice(&bytes),
                    Value::Varint(mut number) => loop {
                        let [low, ..] = number.to_le_bytes();
                        number >>= 7;
                        if number == 0 {
                            values.push(low);
                            break;
                        }
                        values.push(low | 0x80);
                    },
                }
                if values.len() as u64 > MOST_KEPT {
                    return Err("the values of an initializer are not raw, and too many for that");
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Values of a typed field as raw ones.
pub fn widths(
    field: u32,
    dtype: u64,
    values: Vec<u8>,
) -> core::result::Result<Vec<u8>, &'static str> {
    let width = match (field, dtype) {
        (4, 1) | (10, 11) => return Ok(values),
        (5, 2 | 3 | 17 | 19 | 21 | 22) => 1,
        (5, 10 | 16) => 2,
        _ => return Err("its values are in a field that is not for its type"),
    };
    let mut raw = Vec::new();
    proto::numbers(Value::Bytes(&values), |number| {
        raw.extend_from_slice(&number.to_le_bytes()[..width]);
    })?;
    Ok(raw)
}

/// Where an initializer of `size` bytes is, if that can be in the model's folder.
pub fn external(id: Id, size: u64, entries: &HashMap<String, String>) -> Option<External> {
    let location = entries.get("location")?;
    let is_inside = !location.contains(['\\', ':', '\0'])
        && location
            .split('/')
            .all(|part| !matches!(part, "" | "." | ".."));
    let number = |key: &str| entries.get(key).map(|text| text.parse::<u64>().ok());
    let start = number("offset").unwrap_or(Some(0))?;
    let length = number("length").unwrap_or(Some(size))?;
    (is_inside && length == size && start.checked_add(size)? <= 1 << 53).then(|| External {
        id,
        location: location.clone(),
        start,
        size,
    })
}
