//! The part of Python's pickle format (protocols 2 to 5) that torch checkpoints are written in.
//!
//! Nothing is executed: the only calls that are understood make an `OrderedDict`, a tensor of a storage, or a parameter
//! of a tensor. A checkpoint that asks for anything else is refused.

use std::collections::HashMap;

/// Objects that a pickle may make, which bounds the memory that a hostile one takes.
const MOST_OBJECTS: usize = 1 << 22;

/// An object, by its place in the [`Pickle`].
type Id = usize;

/// A value. Those that hold others name them by their place.
#[derive(Clone, Debug)]
enum Value {
    None,
    Bool,
    Int(i64),
    Text(String),
    /// Tuples, lists and sets
    Sequence(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function
    Global(String),
    Storage(usize),
    Tensor(Tensor),
    Mark,
}

/// A contiguous run of elements in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Name of its file under `data/`.
    pub key: String,
    /// Class of its elements, such as `FloatStorage`.
    pub class: String,
    /// Number of elements.
    pub len: u64,
}

/// A view of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Index of its storage.
    pub storage: usize,
    /// First element.
    pub offset: u64,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Distance of neighbours along each, in elements.
    pub strides: Vec<u64>,
}

/// What a checkpoint's pickle says.
#[derive(Debug, Default)]
pub struct Contents {
    /// All storages, in the order in which they are named.
    pub storages: Vec<Storage>,
    /// Names and tensors of the state dict.
    pub tensors: Vec<(String, Tensor)>,
}

/// Reads a whole pickle; the error says what is wrong with it.
pub fn read(bytes: &[u8]) -> Result<Contents, String> {
    let mut pickle = Pickle {
        bytes,
        objects: Vec::new(),
        stack: Vec::new(),
        memo: HashMap::new(),
        storages: Vec::new(),
    };
    let top = pickle.run()?;
    let tensors = pickle.state_dict(top)?;
    Ok(Contents {
        storages: pickle.storages,
        tensors,
    })
}

struct Pickle<'a> {
    bytes: &'a [u8],
    objects: Vec<Value>,
    stack: Vec<Id>,
    memo: HashMap<u64, Id>,
    storages: Vec<Storage>,
}

impl<'a> Pickle<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or("its pickle ends early")?;
        self.bytes = rest;
        Ok(taken)
    }

    /// A little-endian number of so many bytes.
    fn number(&mut self, count: usize) -> Result<u64, String> {
        let bytes = self.take(count)?.iter().rev();
        Ok(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn text(&mut self, length: u64) -> Result<String, String> {
        let length = usize::try_from(length).map_err(|_| "its pickle has a text without end")?;
        let bytes = self.take(length)?.to_vec();
        String::from_utf8(bytes).map_err(|_| "its pickle has a text that is not UTF-8".to_owned())
    }

    fn line(&mut self) -> Result<String, String> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n');
        let line = self.take(end.ok_or("its pickle ends early")?)?;
        self.take(1)?;
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        if self.objects.len() == MOST_OBJECTS {
            return Err("its pickle holds too many objects".to_owned());
        }
        self.stack.push(self.objects.len());
        self.objects.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack
            .pop()
            .ok_or_else(|| "its pickle takes from an empty stack".to_owned())
    }

    fn top(&self) -> Result<Id, String> {
        self.stack
            .last()
            .copied()
            .ok_or_else(|| "its pickle looks at an empty stack".to_owned())
    }

    /// All that was pushed since the last mark.
    fn marked(&mut self) -> Result<Vec<Id>, String> {
        let mark = self
            .stack
            .iter()
            .rposition(|id| matches!(self.objects[*id], Value::Mark));
        let items = self.stack.split_off(mark.ok_or("its pickle lacks a mark")?);
        Ok(items[1..].to_vec())
    }

    fn remember(&mut self, key: u64) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Result<(), String> {
        let id = self.memo.get(&key);
        self.stack
            .push(*id.ok_or("its pickle recalls what it never kept")?);
        Ok(())
    }

    fn tuple(&mut self, count: usize) -> Result<(), String> {
        let at = self.stack.len().checked_sub(count);
        let items = self
            .stack
            .split_off(at.ok_or("its pickle takes from an empty stack")?);
        self.push(Value::Sequence(items))
    }

    /// The object that the pickle makes.
    fn run(&mut self) -> Result<Id, String> {
        loop {
            match self.take(1)?[0] {
                // Protocol; frame
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'.' => return self.pop(),
                b'(' => self.push(Value::Mark)?,
                // An object that is dropped, or its attributes: none that is understood has any that matter.
                b'0' | b'b' => drop(self.pop()?),
                b'N' => self.push(Value::None)?,
                0x88 | 0x89 => self.push(Value::Bool)?,
                b'q' => {
                    let key = self.number(1)?;
                    self.remember(key)?;
                }
                b'r' => {
                    let key = self.number(4)?;
                    self.remember(key)?;
                }
                0x94 => self.remember(self.memo.len() as u64)?,
                b'h' => {
                    let key = self.number(1)?;
                    self.recall(key)?;
                }
                b'j' => {
                    let key = self.number(4)?;
                    self.recall(key)?;
                }
                b')' | b']' => self.push(Value::Sequence(Vec::new()))?,
                b'}' => self.push(Value::Dict(Vec::new()))?,
                b't' => {
                    let items = self.marked()?;
                    self.push(Value::Sequence(items))?;
                }
                0x85 => self.tuple(1)?,
                0x86 => self.tuple(2)?,
                0x87 => self.tuple(3)?,
                b'a' => {
                    let item = self.pop()?;
                    self.append(&[item])?;
                }
                b'e' => {
                    let items = self.marked()?;
                    self.append(&items)?;
                }
                b's' => {
                    let [value, key] = [self.pop()?, self.pop()?];
                    self.set(&[key, value])?;
                }
                b'u' => {
                    let items = self.marked()?;
                    self.set(&items)?;
                }
                b'Q' => self.storage()?,
                b'R' => self.call()?,
                other => {
                    let value = self.literal(other)?;
                    self.push(value)?;
                }
            }
        }
    }

    /// The value that an instruction and the bytes after it spell.
    fn literal(&mut self, instruction: u8) -> Result<Value, String> {
        Ok(match instruction {
            b'J' => {
                let bytes = self.take(4)?.first_chunk::<4>().copied();
                Value::Int(i64::from(i32::from_le_bytes(bytes.unwrap_or_default())))
            }
            b'K' => Value::Int(self.number(1)?.cast_signed()),
            b'M' => Value::Int(self.number(2)?.cast_signed()),
            0x8a => {
                let length = usize::from(self.take(1)?[0]);
                let bytes = self.take(length)?;
                let negative = bytes.last().is_some_and(|byte| byte.cast_signed() < 0);
                let mut whole = [if negative { 0xff } else { 0 }; 8];
                let room = whole.get_mut(..length);
                room.ok_or("its pickle holds a number of more than 64 bits")?
                    .copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(whole))
            }
            b'G' => {
                self.take(8)?;
                Value::None
            }
            b'X' | 0x8c | 0x8d => {
                let width = match instruction {
                    b'X' => 4,
                    0x8c => 1,
                    _ => 8,
                };
                let length = self.number(width)?;
                Value::Text(self.text(length)?)
            }
            b'c' => Value::Global(format!("{}.{}", self.line()?, self.line()?)),
            0x93 => {
                let [name, module] = [self.pop()?, self.pop()?];
                Value::Global(format!("{}.{}", self.as_text(module)?, self.as_text(name)?))
            }
            other => {
                return Err(format!(
                    "its pickle has an instruction ({other:#04x}) that no state dict needs"
                ));
            }
        })
    }

    fn append(&mut self, items: &[Id]) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.objects[top] {
            Value::Sequence(sequence) => sequence.extend(items),
            _ => return Err("its pickle appends to what is no list".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.objects[top] {
            Value::Dict(dict) => {
                dict.extend(
                    items
                        .as_chunks::<2>()
                        .0
                        .iter()
                        .map(|pair| (pair[0], pair[1])),
                );
            }
            _ => return Err("its pickle sets an item of what is no dict".to_owned()),
        }
        Ok(())
    }

    /// `("storage", class, key, location, elements)` → the storage
    fn storage(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let parts = self.as_sequence(id)?;
        let &[kind, class, key, _, len] = parts.as_slice() else {
            return Err("its pickle names a storage in a form of its own".to_owned());
        };
        let class = match &self.objects[class] {
            Value::Global(class) if self.as_text(kind)? == "storage" => class.clone(),
            _ => return Err("its pickle names a storage in a form of its own".to_owned()),
        };
        let storage = Storage {
            key: self.as_text(key)?.to_owned(),
            class: class.trim_start_matches("torch.").to_owned(),
            len: self.as_count(len)?,
        };
        let known = self
            .storages
            .iter()
            .position(|other| other.key == storage.key);
        let index = known.unwrap_or(self.storages.len());
        if known.is_none() {
            self.storages.push(storage);
        }
        self.push(Value::Storage(index))
    }

    fn call(&mut self) -> Result<(), String> {
        let [arguments, function] = [self.pop()?, self.pop()?];
        let arguments = self.as_sequence(arguments)?;
        let Value::Global(function) = self.objects[function].clone() else {
            return Err("its pickle calls what is no function".to_owned());
        };
        match (function.as_str(), arguments.as_slice()) {
            ("collections.OrderedDict", []) => self.push(Value::Dict(Vec::new())),
            ("torch._utils._rebuild_parameter", [tensor, ..]) => {
                self.stack.push(*tensor);
                Ok(())
            }
            ("torch._utils._rebuild_tensor_v2", &[storage, offset, shape, strides, ..]) => {
                let Value::Storage(storage) = self.objects[storage] else {
                    return Err("its pickle makes a tensor of what is no storage".to_owned());
                };
                let tensor = Tensor {
                    storage,
                    offset: self.as_count(offset)?,
                    shape: self.as_counts(shape)?,
                    strides: self.as_counts(strides)?,
                };
                self.push(Value::Tensor(tensor))
            }
            (other, _) => Err(format!(
                "it asks for {other} to be called, which a state dict has no need of"
            )),
        }
    }

    fn as_text(&self, id: Id) -> Result<&str, String> {
        match &self.objects[id] {
            Value::Text(text) => Ok(text),
            _ => Err("its pickle has something else where a text belongs".to_owned()),
        }
    }

    fn as_count(&self, id: Id) -> Result<u64, String> {
        match &self.objects[id] {
            Value::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        }
        .ok_or_else(|| "its pickle has something else where a count belongs".to_owned())
    }

    fn as_sequence(&self, id: Id) -> Result<Vec<Id>, String> {
        match &self.objects[id] {
            Value::Sequence(items) => Ok(items.clone()),
            _ => Err("its pickle has something else where a tuple belongs".to_owned()),
        }
    }

    fn as_counts(&self, id: Id) -> Result<Vec<u64>, String> {
        let items = self.as_sequence(id)?;
        items.into_iter().map(|id| self.as_count(id)).collect()
    }

    /// The tensors of a dict, or of the one under its key `state_dict`.
    fn state_dict(&self, id: Id) -> Result<Vec<(String, Tensor)>, String> {
        let Value::Dict(items) = &self.objects[id] else {
            return Err("it holds no dict of tensors".to_owned());
        };
        let named = |(key, value): &(Id, Id)| match (&self.objects[*key], &self.objects[*value]) {
            (Value::Text(name), Value::Tensor(tensor)) => Some((name.clone(), tensor.clone())),
            _ => None,
        };
        let tensors: Vec<_> = items.iter().filter_map(named).collect();
        let inner = items.iter().find(|(key, value)| {
            matches!(&self.objects[*key], Value::Text(name) if name == "state_dict") && *value != id
        });
        match inner {
            Some((_, inner)) if tensors.is_empty() => self.state_dict(*inner),
            _ => Ok(tensors),
        }
    }
}
