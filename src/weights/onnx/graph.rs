//! The graph of an ONNX file: nodes, attributes and small constants. It is read, never executed.

use std::collections::HashMap;

use super::proto::{self, Value};

/// Number of a value's name in [`Graph::names`].
pub type Id = u32;

/// The graph.
#[derive(Debug, Default)]
pub struct Graph {
    /// Names of all values.
    pub names: Vec<String>,
    ids: HashMap<String, Id>,
    /// Nodes, each after those whose outputs it takes.
    pub nodes: Vec<Node>,
}

/// A node.
#[derive(Debug, Default)]
pub struct Node {
    /// Its name, which may be empty.
    pub name: String,
    /// Its operator; those of `com.microsoft` follow `com.microsoft.`, other domains theirs.
    pub op: String,
    /// What it takes; `None` is left out.
    pub inputs: Vec<Option<Id>>,
    /// What it gives; `None` is left out.
    pub outputs: Vec<Option<Id>>,
    attributes: Vec<(String, Attribute)>,
}

#[derive(Debug)]
enum Attribute {
    Float(f32),
    Int(i64),
    Text(String),
    Tensor(Constant),
    /// Of a kind that no node here is asked for.
    Other,
}

/// A constant that is part of the graph.
#[derive(Clone, Debug, Default)]
pub struct Constant {
    /// Number of its elements.
    pub count: u64,
    /// The element, if it is one.
    pub scalar: Option<f64>,
    /// The last two elements, if it is a vector of whole numbers: of a shape, heads and their size.
    pub last_two: Option<[i64; 2]>,
    /// Whether it is a vector or more of floating-point numbers, and not all are 0.
    pub is_weight: bool,
}

impl Graph {
    /// The number of a name.
    pub fn id(&mut self, name: String) -> Id {
        if let Some(id) = self.ids.get(&name) {
            return *id;
        }
        let id = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.clone());
        self.ids.insert(name, id);
        id
    }

    /// The number of a name, if a node has it.
    pub fn known(&self, name: &str) -> Option<Id> {
        self.ids.get(name).copied()
    }

    /// A name.
    pub fn name(&self, id: Id) -> &str {
        self.names.get(id as usize).map_or("", String::as_str)
    }

    /// Adds a `NodeProto`.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let mut node = Node::default();
        let mut domain = String::new();
        proto::fields(bytes, |field, value| {
            match field {
                1 | 2 => {
                    let name = proto::text(value)?;
                    let id = (!name.is_empty()).then(|| self.id(name));
                    if field == 1 {
                        node.inputs.push(id);
                    } else {
                        node.outputs.push(id);
                    }
                }
                3 => node.name = proto::text(value)?,
                4 => node.op = proto::text(value)?,
                5 => node.attributes.push(attribute(proto::bytes(value)?)?),
                7 => domain = proto::text(value)?,
                _ => {}
            }
            Ok::<(), &'static str>(())
        })?;
        if !matches!(domain.as_str(), "" | "ai.onnx") {
            node.op = format!("{domain}.{}", node.op);
        }
        self.nodes.push(node);
        Ok(())
    }
}

impl Node {
    /// An attribute that is a whole number.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.find(name) {
            Some(Attribute::Int(value)) => Some(*value),
            _ => None,
        }
    }

    /// An attribute that is a floating-point number.
    pub fn float(&self, name: &str) -> Option<f32> {
        match self.find(name) {
            Some(Attribute::Float(value)) => Some(*value),
            _ => None,
        }
    }

    /// An attribute that is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.find(name) {
            Some(Attribute::Text(value)) => Some(value),
            _ => None,
        }
    }

    /// The value of a `Constant` node.
    pub fn constant(&self) -> Constant {
        let [(_, attribute), ..] = self.attributes.as_slice() else {
            return Constant::default();
        };
        let one = |value| Constant {
            count: 1,
            scalar: Some(value),
            ..Constant::default()
        };
        match attribute {
            Attribute::Tensor(constant) => constant.clone(),
            Attribute::Float(value) => one(f64::from(*value)),
            #[expect(
                clippy::cast_precision_loss,
                reason = "compared with small numbers only"
            )]
            Attribute::Int(value) => one(*value as f64),
            Attribute::Text(_) | Attribute::Other => Constant::default(),
        }
    }

    /// Whether it has an attribute of the name.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<&Attribute> {
        let mut all = self.attributes.iter();
        all.find(|(own, _)| own == name).map(|(_, value)| value)
    }
}

fn attribute(bytes: &[u8]) -> Result<(String, Attribute), &'static str> {
    let (mut name, mut found) = (String::new(), Attribute::Other);
    proto::fields(bytes, |field, value| {
        match (field, value) {
            (1, value) => name = proto::text(value)?,
            (2, Value::Fixed32(bytes)) => found = Attribute::Float(f32::from_le_bytes(bytes)),
            (3, Value::Varint(value)) => found = Attribute::Int(value.cast_signed()),
            // Strings that are no text are of operators that are not known here.
            (4, value) => found = Attribute::Text(proto::text(value).unwrap_or_default()),
            (5, value) => found = Attribute::Tensor(constant(proto::bytes(value)?)?),
            (2 | 3, _) => return Err("an attribute is stored as another type than it has"),
            _ => {}
        }
        Ok(())
    })?;
    Ok((name, found))
}

/// The number of elements of a `TensorProto`, and the element if it is one.
fn constant(bytes: &[u8]) -> Result<Constant, &'static str> {
    let (mut count, mut dtype, mut data) = (Some(1u64), 0, None);
    proto::fields(bytes, |field, value| {
        match field {
            1 => {
                return proto::numbers(value, |size| {
                    count = count.and_then(|count| count.checked_mul(size));
                });
            }
            2 => proto::numbers(value, |number| dtype = number)?,
            4 | 5 | 7 | 9 | 10 => data = data.or(Some((field, value))),
            _ => {}
        }
        Ok(())
    })?;
    let count = count.ok_or("a constant has more elements than any real one")?;
    let scalar = match data {
        Some((field, value)) if count == 1 => scalar(dtype, field, value),
        _ => None,
    };
    let all_zero = match data {
        Some((_, Value::Bytes(bytes))) => bytes.iter().all(|byte| *byte == 0),
        Some(_) => false,
        None => true,
    };
    Ok(Constant {
        count,
        scalar,
        last_two: data.and_then(|(field, value)| last_two(dtype, field, value)),
        is_weight: count > 1 && matches!(dtype, 1 | 10 | 11 | 16) && !all_zero,
    })
}

/// The last two elements of a tensor of whole numbers that is stored as bytes.
fn last_two(dtype: u64, field: u32, value: Value) -> Option<[i64; 2]> {
    let (7, 9, Value::Bytes(bytes)) = (dtype, field, value) else {
        return None;
    };
    match bytes.as_chunks::<8>().0 {
        [.., first, second] => Some([*first, *second].map(i64::from_le_bytes)),
        _ => None,
    }
}

fn scalar(dtype: u64, field: u32, value: Value) -> Option<f64> {
    let first = |value: Value| {
        let mut first = None;
        proto::numbers(value, |number| first = first.or(Some(number))).ok()?;
        first
    };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "compared with small numbers only; halves have 16 bits"
    )]
    match (dtype, field, value) {
        (1, 4, Value::Fixed32(bytes)) => Some(f32::from_le_bytes(bytes).into()),
        (1, 4 | 9, Value::Bytes(bytes)) => Some(f32::from_le_bytes(*bytes.first_chunk()?).into()),
        (10, 9, Value::Bytes(bytes)) => {
            Some(half::f16::from_le_bytes(*bytes.first_chunk()?).to_f64())
        }
        (10, 5, value) => Some(half::f16::from_bits(first(value)? as u16).to_f64()),
        (11, 10, Value::Fixed64(bytes)) => Some(f64::from_le_bytes(bytes)),
        (11, 9 | 10, Value::Bytes(bytes)) => Some(f64::from_le_bytes(*bytes.first_chunk()?)),
        (7, 9, Value::Bytes(bytes)) => Some(i64::from_le_bytes(*bytes.first_chunk()?) as f64),
        (6, 9, Value::Bytes(bytes)) => Some(i32::from_le_bytes(*bytes.first_chunk()?).into()),
        (6 | 7, 5 | 7, value) => Some(first(value)?.cast_signed() as f64),
        _ => None,
    }
}
