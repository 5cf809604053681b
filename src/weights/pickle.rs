//! The part of Python's pickle format (protocols 2 to 5) that torch checkpoints use.
//!
//! Nothing is executed. The only calls that are understood make an `OrderedDict`, a tensor of a
//! storage, or a parameter of a tensor. Checkpoints with any other call are refused.

use std::collections::HashMap;
use std::sync::Arc;

/// The most instructions of a pickle. Each adds at most one object, one stack entry and one memo
/// entry. A tensor takes about forty.
const MOST_INSTRUCTIONS: usize = 1 << 22;
/// The most bytes of the name of a class, a storage or a tensor.
const MOST_NAME: usize = 1 << 10;
/// The most bytes of the name of a storage's class, which is repeated for every tensor.
const MOST_CLASS: usize = 64;
/// The most dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;

/// An object, as an index into [`Pickle`].
type Id = usize;

/// A value. Containers refer to their elements by index.
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
    Global(Arc<str>),
    Storage(usize),
    Tensor(Arc<Tensor>),
    Mark,
}

/// A contiguous run of elements in the archive: the file `data/{key}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Class of the elements, such as `torch.FloatStorage`.
    pub class: Arc<str>,
    /// Number of elements.
    pub len: u64,
}

/// A view of a storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// Index of its storage.
    pub storage: usize,
    /// First element.
    pub offset: u64,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Distance between neighbours along each dimension, in elements.
    pub strides: Vec<u64>,
}

/// The contents of a checkpoint's pickle.
#[derive(Debug, Default)]
pub struct Contents {
    /// All storages, in order of their first use.
    pub storages: Vec<Storage>,
    /// Index of each storage, by its key.
    pub by_key: HashMap<String, usize>,
    /// Names and tensors of the state dict.
    pub tensors: Vec<(String, Arc<Tensor>)>,
}

/// Reads a whole pickle. The error says what is wrong with it.
pub fn read(bytes: &[u8]) -> Result<Contents, String> {
    let mut pickle = Pickle {
        bytes,
        objects: Vec::new(),
        stack: Vec::new(),
        memo: HashMap::new(),
        storages: Vec::new(),
        by_key: HashMap::new(),
    };
    let top = pickle.run()?;
    let tensors = pickle.state_dict(top)?;
    Ok(Contents {
        storages: pickle.storages,
        by_key: pickle.by_key,
        tensors,
    })
}

struct Pickle<'a> {
    bytes: &'a [u8],
    objects: Vec<Value>,
    stack: Vec<Id>,
    memo: HashMap<u64, Id>,
    storages: Vec<Storage>,
    /// Index of each storage, by its key.
    by_key: HashMap<String, usize>,
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

    /// A little-endian number of `N` bytes.
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

    fn push(&mut self, value: Value) {
        self.stack.push(self.objects.len());
        self.objects.push(value);
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

    /// Everything that was pushed since the last mark.
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
        self.push(Value::Sequence(items));
        Ok(())
    }

    /// The object that the pickle evaluates to.
    fn run(&mut self) -> Result<Id, String> {
        for _ in 0..MOST_INSTRUCTIONS {
            match self.take(1)?[0] {
                // Protocol; frame
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'.' => return self.pop(),
                b'(' => self.push(Value::Mark),
                // Drops an object, or sets its attributes. None of the objects that are understood
                // has attributes that matter.
                b'0' | b'b' => drop(self.pop()?),
                b'N' => self.push(Value::None),
                0x88 | 0x89 => self.push(Value::Bool),
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
                b')' | b']' => self.push(Value::Sequence(Vec::new())),
                b'}' => self.push(Value::Dict(Vec::new())),
                b't' => {
                    let items = self.marked()?;
                    self.push(Value::Sequence(items));
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
                    self.push(value);
                }
            }
        }
        Err("its pickle has more instructions than any state dict needs".to_owned())
    }

    /// The value of an instruction that pushes a constant.
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
            b'c' => global(&self.line()?, &self.line()?)?,
            0x93 => {
                let [name, module] = [self.pop()?, self.pop()?];
                global(self.as_text(module)?, self.as_text(name)?)?
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
            _ => return Err("its pickle appends to a value that is not a list".to_owned()),
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
            _ => return Err("its pickle sets an item of a value that is not a dict".to_owned()),
        }
        Ok(())
    }

    /// `("storage", class, key, location, elements)` → the storage
    fn storage(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let &[kind, class, key, _, len] = self.as_sequence(id)? else {
            return Err("its pickle names a storage in a form of its own".to_owned());
        };
        let class = match &self.objects[class] {
            Value::Global(class)
                if self.as_text(kind)? == "storage" && class.len() <= MOST_CLASS =>
            {
                class
            }
            _ => return Err("its pickle names a storage in a form of its own".to_owned()),
        };
        let key = self.as_text(key)?;
        let index = if let Some(index) = self.by_key.get(key) {
            *index
        } else {
            let storage = Storage {
                class: Arc::clone(class),
                len: self.as_count(len)?,
            };
            self.by_key.insert(key.to_owned(), self.storages.len());
            self.storages.push(storage);
            self.storages.len() - 1
        };
        self.push(Value::Storage(index));
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let [arguments, function] = [self.pop()?, self.pop()?];
        let arguments = self.as_sequence(arguments)?;
        let Value::Global(function) = &self.objects[function] else {
            return Err("its pickle calls a value that is not a function".to_owned());
        };
        match (&**function, arguments) {
            ("collections.OrderedDict", []) => self.push(Value::Dict(Vec::new())),
            ("torch._utils._rebuild_parameter", &[tensor, ..]) => self.stack.push(tensor),
            ("torch._utils._rebuild_tensor_v2", &[storage, offset, shape, strides, ..]) => {
                let Value::Storage(storage) = self.objects[storage] else {
                    return Err(
                        "its pickle makes a tensor of a value that is not a storage".to_owned()
                    );
                };
                let tensor = Tensor {
                    storage,
                    offset: self.as_count(offset)?,
                    shape: self.as_counts(shape)?,
                    strides: self.as_counts(strides)?,
                };
                self.push(Value::Tensor(Arc::new(tensor)));
            }
            (other, _) => {
                return Err(format!(
                    "it asks for {other} to be called, which a state dict has no need of"
                ));
            }
        }
        Ok(())
    }

    fn as_text(&self, id: Id) -> Result<&str, String> {
        match &self.objects[id] {
            Value::Text(text) if text.len() <= MOST_NAME => Ok(text),
            _ => Err("its pickle has something else where a name belongs".to_owned()),
        }
    }

    fn as_count(&self, id: Id) -> Result<u64, String> {
        match &self.objects[id] {
            Value::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        }
        .ok_or_else(|| "its pickle has something else where a count belongs".to_owned())
    }

    fn as_sequence(&self, id: Id) -> Result<&[Id], String> {
        match &self.objects[id] {
            Value::Sequence(items) => Ok(items),
            _ => Err("its pickle has something else where a tuple belongs".to_owned()),
        }
    }

    fn as_counts(&self, id: Id) -> Result<Vec<u64>, String> {
        let items = self.as_sequence(id)?;
        if items.len() > MOST_DIMENSIONS {
            return Err("it holds a tensor of too many dimensions".to_owned());
        }
        items.iter().map(|id| self.as_count(*id)).collect()
    }

    /// The tensors of a dict, or of the dict under its key `state_dict`.
    fn state_dict(&self, id: Id) -> Result<Vec<(String, Arc<Tensor>)>, String> {
        let tensors = self.tensors(id)?;
        let Value::Dict(items) = &self.objects[id] else {
            return Ok(tensors);
        };
        let inner = items.iter().find(
            |(key, _)| matches!(&self.objects[*key], Value::Text(name) if name == "state_dict"),
        );
        match inner {
            Some((_, inner)) if tensors.is_empty() => self.tensors(*inner),
            _ => Ok(tensors),
        }
    }

    /// The tensors of a dict. The last of several under one name counts.
    fn tensors(&self, id: Id) -> Result<Vec<(String, Arc<Tensor>)>, String> {
        let Value::Dict(items) = &self.objects[id] else {
            return Err("it holds no dict of tensors".to_owned());
        };
        let (mut tensors, mut places) = (Vec::new(), HashMap::new());
        for (key, value) in items {
            let Value::Tensor(tensor) = &self.objects[*value] else {
                continue;
            };
            let Ok(name) = self.as_text(*key) else {
                continue;
            };
            let place = *places.entry(name).or_insert(tensors.len());
            if place < tensors.len() {
                tensors[place] = (name.to_owned(), Arc::clone(tensor));
            } else {
                tensors.push((name.to_owned(), Arc::clone(tensor)));
            }
        }
        Ok(tensors)
    }
}

/// A class or function of a module.
fn global(module: &str, name: &str) -> Result<Value, String> {
    if module.len() + name.len() > MOST_NAME {
        return Err("its pickle has a name that is too long".to_owned());
    }
    Ok(Value::Global(format!("{module}.{name}").into()))
}
