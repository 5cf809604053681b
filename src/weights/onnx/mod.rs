//! ONNX files (github.com/onnx/onnx, onnx.proto) as a stream: a protocol buffer that holds a graph,
//! its nodes first and then its initializers, which may be in files beside it.
//!
//! The graph is never executed. It is read to learn which initializer is which weight: whoever
//! takes the tensors is given the [`Graph`] when its nodes have arrived, and says where each tensor
//! of torch's is ([`Placement`]). What then arrives comes out as these tensors, in f32. Kept are
//! the graph (at most 64 MiB), what `Store` keeps of the initializers, and, of a file whose
//! initializers come before its nodes, these initializers, up to 64 MiB.

mod element;
mod graph;
mod proto;
mod store;
mod tensor;

use std::collections::HashSet;

pub use self::graph::{Constant, Graph, Id, Node};
pub use self::store::{Codes, Placement, Weight};

use self::proto::Value;
use self::store::Store;
use self::tensor::{External, Tensor, external, widths};
use super::Visitor;
use crate::error::{Error, Result};

/// The most bytes of nodes, of initializers that come before them, and of values that come before
/// their tensor's name.
const MOST_KEPT: u64 = 64 << 20;
/// The most nodes, and the most initializers. Graphs of the largest encoders have 10,000.
const MOST: usize = 1 << 16;
/// Versions of ONNX's own operators that are known: from 7 on the operators are as they are read
/// here.
const OPSETS: core::ops::RangeInclusive<u64> = 7..=26;
/// The most files that hold values of one model.
const MOST_FILES: usize = 4096;

/// How matrices in 8 bits are called in `info`.
pub const EIGHT_BITS: &str = "ONNX, 8 bits";

/// Where the tensors of a model are in a graph.
pub struct Plan {
    /// The output that was followed back to the weights.
    pub output: String,
    /// The tensors.
    pub placements: Vec<Placement>,
    /// Initializers that must be one number each.
    pub numbers: Vec<Id>,
    /// Initializers that must be 0.
    pub zeros: Vec<Id>,
}

impl Plan {
    /// In words how those matrices are stored that are not stored as values.
    pub fn stored(&self) -> Vec<String> {
        let mut all = Vec::new();
        for placement in &self.placements {
            let what = match placement.weight.codes {
                Codes::Plain => continue,
                Codes::Scaled { .. } => EIGHT_BITS.to_owned(),
                Codes::Blocks { bits, .. } => format!("ONNX, {bits} bits in blocks"),
                Codes::Table { normal: true, .. } => "ONNX, NF4".to_owned(),
                Codes::Table { .. } => "ONNX, FP4".to_owned(),
            };
            if !all.contains(&what) {
                all.push(what);
            }
        }
        all
    }
}

/// Reads one file in chunks of any size, and then those that it names.
pub struct Stream {
    file: String,
    received: u64,
    state: State,
    /// Bytes of a tag and a length that are not complete, or of a message that is kept in whole.
    held: Vec<u8>,
    /// Messages that the next byte is in, below the model, and where they end.
    frames: Vec<(Message, u64)>,
    graph: Graph,
    /// Bytes of nodes and early initializers.
    kept: u64,
    initializers: usize,
    early: Vec<Vec<u8>>,
    store: Option<Store>,
    output: String,
    outputs: Vec<String>,
    opset: Option<u64>,
    seen: HashSet<Id>,
    numbers: HashSet<Id>,
    zeros: HashSet<Id>,
    /// The initializer that is being read.
    tensor: Tensor,
    external: Vec<External>,
    /// The bytes that are wanted of the file beside it that is being read: start, end, initializer.
    segments: Vec<(u64, u64, Id)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Graph,
    Initializer,
}

#[derive(Clone, Copy)]
enum State {
    /// Before a field.
    Tag,
    /// In a field that is passed over, which has so many bytes left.
    Skip { left: u64 },
    /// In a field that is kept in whole.
    Keep { field: u32, wire: u8, size: u64 },
    /// In the values of an initializer.
    Data { id: Id, left: u64 },
    /// In those of one that must be 0.
    Zeros { left: u64 },
    /// In a file beside the first.
    Beside,
}

/// Whether a file's name is that of an ONNX file.
pub fn is_onnx(file: &str) -> bool {
    let extension = std::path::Path::new(file).extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
}

impl Stream {
    /// A stream of nothing yet; `file` is its path, for error messages and for the files beside it.
    pub fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            received: 0,
            state: State::Tag,
            held: Vec::new(),
            frames: Vec::new(),
            graph: Graph::default(),
            kept: 0,
            initializers: 0,
            early: Vec::new(),
            store: None,
            output: String::new(),
            outputs: Vec::new(),
            opset: None,
            seen: HashSet::new(),
            numbers: HashSet::new(),
            zeros: HashSet::new(),
            tensor: Tensor::default(),
            external: Vec::new(),
            segments: Vec::new(),
        }
    }

    fn invalid(&self, reason: impl Into<String>) -> Error {
        Error::InvalidOnnx {
            file: self.file.clone(),
            reason: reason.into(),
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8], visitor: &mut dyn Visitor) -> Result<()> {
        while !bytes.is_empty() {
            let taken = match self.state {
                State::Tag => self.field(bytes, visitor)?,
                State::Skip { left } => {
                    let taken = part(bytes, left).len();
                    self.state = after(left - taken as u64, |left| State::Skip { left });
                    taken
                }
                State::Keep { size, .. } => {
                    let taken = part(bytes, size - self.held.len() as u64);
                    keep(&mut self.held, taken)?;
                    taken.len()
                }
                State::Data { id, left } => {
                    let taken = part(bytes, left);
                    if let Some(store) = &mut self.store {
                        store.data(id, taken, visitor)?;
                    }
                    let left = left - taken.len() as u64;
                    self.state = after(left, |left| State::Data { id, left });
                    taken.len()
                }
                State::Zeros { left } => {
                    let taken = part(bytes, left);
                    self.zeros(taken)?;
                    self.state = after(left - taken.len() as u64, |left| State::Zeros { left });
                    taken.len()
                }
                State::Beside => {
                    self.beside(bytes, visitor)?;
                    bytes.len()
                }
            };
            self.received += taken as u64;
            bytes = &bytes[taken..];
            self.settle(visitor)?;
        }
        Ok(())
    }

    /// Ends fields and messages that the last byte was of.
    fn settle(&mut self, visitor: &mut dyn Visitor) -> Result<()> {
        if let State::Keep { field, wire, size } = self.state
            && self.held.len() as u64 == size
        {
            let held = std::mem::take(&mut self.held);
            self.state = State::Tag;
            let value = match (wire, held.first_chunk(), held.first_chunk()) {
                (1, Some(value), _) => Value::Fixed64(*value),
                (5, _, Some(value)) => Value::Fixed32(*value),
                _ => Value::Bytes(&held),
            };
            self.whole(field, value)?;
        }
        while let (State::Tag, Some((message, end))) = (self.state, self.frames.last()) {
            if !self.held.is_empty() || *end != self.received {
                break;
            }
            let message = *message;
            self.frames.pop();
            match message {
                Message::Graph => self.resolve(visitor)?,
                Message::Initializer => self.end_tensor(visitor)?,
            }
        }
        Ok(())
    }

    /// Takes bytes of a tag, and of the number or the length that follows it; says how many.
    fn field(&mut self, bytes: &[u8], visitor: &mut dyn Visitor) -> Result<usize> {
        let before = self.held.len();
        let more = bytes.len().min(2 * proto::MOST_VARINT);
        self.held.extend_from_slice(&bytes[..more]);
        let read = || -> core::result::Result<Option<_>, &'static str> {
            let Some((tag, length)) = proto::varint(&self.held)? else {
                return Ok(None);
            };
            let (field, wire) = proto::tag(tag)?;
            let size = match wire {
                1 => Some((8, 0)),
                5 => Some((4, 0)),
                0 | 2 => proto::varint(&self.held[length..])?,
                _ => return Err("it has a field of a wire type that is not known"),
            };
            Ok(size.map(|(size, more)| (field, wire, size, length + more)))
        };
        let Some((field, wire, size, length)) = read().map_err(|reason| self.invalid(reason))?
        else {
            return Ok(more);
        };
        self.held.clear();
        let taken = length.saturating_sub(before);
        let start = self.received + taken as u64;
        let limit = self.frames.last().map_or(1 << 53, |(_, end)| *end);
        let value = (wire == 0).then_some(Value::Varint(size));
        let size = if wire == 0 { 0 } else { size };
        if start.checked_add(size).is_none_or(|end| end > limit) {
            return Err(self.invalid(format!(
                "field {field} goes on after the end of the message that it is in"
            )));
        }
        match value {
            Some(value) => self.whole(field, value)?,
            None => self.enter(field, wire, size, start, visitor)?,
        }
        Ok(taken)
    }

    /// Begins a field whose `size` bytes are next, from `start` on.
    fn enter(
        &mut self,
        field: u32,
        wire: u8,
        size: u64,
        start: u64,
        visitor: &mut dyn Visitor,
    ) -> Result<()> {
        let message = self.frames.last().map(|(message, _)| *message);
        if message == Some(Message::Graph) && field != 1 && !self.graph.nodes.is_empty() {
            self.resolve(visitor)?;
        }
        let most = match (message, field) {
            (None, 7) => {
                if self.store.is_some() {
                    return Err(self.invalid("it has two graphs"));
                }
                self.frames.push((Message::Graph, start + size));
                return Ok(());
            }
            (None, 8) => 1 << 10,
            (Some(Message::Graph), 1) => {
                if self.store.is_some() {
                    return Err(self.invalid(
                        "some of its nodes come after its initializers; save it again with onnx.save",
                    ));
                }
                self.kept += size;
                if self.graph.nodes.len() == MOST {
                    return Err(self.invalid(format!("it has more than {MOST} nodes")));
                }
                MOST_KEPT.saturating_sub(self.kept - size)
            }
            (Some(Message::Graph), 5) => {
                self.initializers += 1;
                if self.initializers > MOST {
                    return Err(self.invalid(format!("it has more than {MOST} initializers")));
                }
                if self.store.is_some() {
                    self.tensor = Tensor::default();
                    self.frames.push((Message::Initializer, start + size));
                    return Ok(());
                }
                self.kept += size;
                MOST_KEPT.saturating_sub(self.kept - size)
            }
            (Some(Message::Graph), 12) => 1 << 20,
            (Some(Message::Graph), 15) => return Err(self.invalid("it has sparse initializers")),
            (Some(Message::Initializer), 9) => {
                if let Some(state) = self.raw(size)? {
                    self.state = state;
                    return Ok(());
                }
                MOST_KEPT
            }
            (Some(Message::Initializer), _) => {
                let kept = self.tensor.values.as_ref();
                MOST_KEPT.saturating_sub(kept.map_or(0, |(_, kept)| kept.len() as u64))
            }
            _ => {
                self.state = after(size, |left| State::Skip { left });
                return Ok(());
            }
        };
        if size > most {
            return Err(self.invalid(format!(
                "its nodes, or initializers before them or without raw values, have more than {MOST_KEPT} bytes; save it again with onnx.save"
            )));
        }
        self.state = State::Keep { field, wire, size };
        Ok(())
    }

    /// Before the raw values of an initializer: `None` if they have to be kept until its name is
    /// known.
    fn raw(&mut self, size: u64) -> Result<Option<State>> {
        let Some(name) = self.tensor.name.clone() else {
            return Ok(None);
        };
        if self.tensor.is_done || self.tensor.values.is_some() {
            return Err(self.invalid(format!("initializer {name} has values twice")));
        }
        self.tensor.is_done = true;
        let dims = std::mem::take(&mut self.tensor.dims);
        let Some((id, expected)) = self.describe(&name, dims, self.tensor.dtype)? else {
            let must_be_zero = self.must_be_zero(&name);
            return Ok(Some(after(size, |left| {
                if must_be_zero {
                    State::Zeros { left }
                } else {
                    State::Skip { left }
                }
            })));
        };
        if expected != size {
            return Err(self.wrong_size(&name, size));
        }
        Ok(Some(after(size, |left| State::Data { id, left })))
    }

    fn must_be_zero(&self, name: &str) -> bool {
        let id = self.graph.known(name);
        id.is_some_and(|id| self.zeros.contains(&id))
    }

    /// Checks values that must be 0.
    fn zeros(&self, bytes: &[u8]) -> Result<()> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        Err(Error::UnsupportedModel(format!(
            "the graph of {} has biases where the model that config.json describes has none; take the model's safetensors, or an export of this model as it is",
            self.file
        )))
    }

    fn wrong_size(&self, name: &str, size: u64) -> Error {
        self.invalid(format!(
            "initializer {name} has {size} bytes, which are not as many as its shape takes"
        ))
    }

    /// Takes note of an initializer, before its values; gives its number and size if it is wanted.
    fn describe(&mut self, name: &str, dims: Vec<u64>, dtype: u64) -> Result<Option<(Id, u64)>> {
        let Some(id) = self.graph.known(name) else {
            return Ok(None);
        };
        if !self.seen.insert(id) {
            return Err(self.invalid(format!("two initializers are called {name}")));
        }
        if self.numbers.contains(&id) && dims.iter().any(|size| *size != 1) {
            return Err(Error::UnsupportedModel(format!(
                "{}: the graph uses {name}, whose shape is {dims:?}, where the model has a single number; take the model's safetensors, or an export of this model as it is",
                self.file
            )));
        }
        match &mut self.store {
            Some(store) if store.wants(id) => {
                Ok(Some((id, store.describe(id, name, dims, dtype)?)))
            }
            _ => Ok(None),
        }
    }

    /// A field that is here in whole.
    fn whole(&mut self, field: u32, value: Value) -> Result<()> {
        let invalid = |reason: &'static str| Error::InvalidOnnx {
            file: self.file.clone(),
            reason: reason.to_owned(),
        };
        match (self.frames.last().map(|(message, _)| *message), field) {
            (None, 7) => Err("its graph is stored as a number"),
            (None, 8) => proto::bytes(value).and_then(|bytes| {
                let (mut domain, mut version) = (String::new(), 0);
                proto::fields(bytes, |field, value| match field {
                    1 => proto::text(value).map(|text| domain = text),
                    2 => proto::numbers(value, |number| version = number),
                    _ => Ok(()),
                })?;
                if matches!(domain.as_str(), "" | "ai.onnx") {
                    self.opset = Some(version);
                }
                Ok(())
            }),
            (Some(Message::Graph), 1) => proto::bytes(value).and_then(|bytes| {
                self.graph.add(bytes)?;
                let node = self.graph.nodes.last();
                node.filter(|node| !node.op.is_empty() && !node.outputs.is_empty())
                    .map(|_| ())
                    .ok_or("a node has no operator or no output")
            }),
            (Some(Message::Graph), 5) => {
                proto::bytes(value).map(|bytes| self.early.push(bytes.to_vec()))
            }
            (Some(Message::Graph), 12) => proto::bytes(value).and_then(|bytes| {
                proto::fields(bytes, |field, value| match field {
                    1 => proto::text(value).map(|name| self.outputs.push(name)),
                    _ => Ok(()),
                })
            }),
            (Some(Message::Initializer), _) => self.tensor.take(field, value),
            _ => Ok(()),
        }
        .map_err(invalid)
    }

    /// Has the tensors of the model found in the graph, once; then takes the initializers that came
    /// before its nodes.
    fn resolve(&mut self, visitor: &mut dyn Visitor) -> Result<()> {
        if self.store.is_some() {
            return Ok(());
        }
        let plan = visitor.graph(&self.graph)?;
        self.graph.nodes = Vec::new();
        let store = Store::new(&self.file, plan.placements);
        visitor.header(&store.tensors())?;
        self.store = Some(store);
        self.output = plan.output;
        self.numbers = plan.numbers.into_iter().collect();
        self.zeros = plan.zeros.into_iter().collect();
        for bytes in std::mem::take(&mut self.early) {
            self.tensor = Tensor::default();
            let tensor = &mut self.tensor;
            proto::fields(&bytes, |field, value| tensor.take(field, value))
                .map_err(|reason: &'static str| self.invalid(reason))?;
            self.end_tensor(visitor)?;
        }
        Ok(())
    }

    /// Ends an initializer.
    fn end_tensor(&mut self, visitor: &mut dyn Visitor) -> Result<()> {
        let tensor = std::mem::take(&mut self.tensor);
        if tensor.is_done {
            return Ok(());
        }
        let Some(name) = tensor.name else {
            return Err(self.invalid("an initializer has no name"));
        };
        let Some((id, size)) = self.describe(&name, tensor.dims, tensor.dtype)? else {
            if self.must_be_zero(&name) {
                // Those in another file are not looked at.
                self.zeros(&[u8::from(tensor.is_external)])?;
                self.zeros(tensor.values.as_ref().map_or(&[], |(_, values)| values))?;
            }
            return Ok(());
        };
        if tensor.is_external {
            let external = external(id, size, &tensor.entries).ok_or_else(|| {
                self.invalid(format!(
                    "initializer {name} is said to be outside the model's folder, or at no place of a file ({})",
                    tensor.entries.get("location").map_or("", String::as_str)
                ))
            })?;
            self.external.push(external);
            return Ok(());
        }
        let values = match tensor.values {
            Some((9, values)) => values,
            Some((field, values)) => widths(field, tensor.dtype, values)
                .map_err(|reason| self.invalid(format!("initializer {name}: {reason}")))?,
            None => Vec::new(),
        };
        if values.len() as u64 != size {
            return Err(self.wrong_size(&name, values.len() as u64));
        }
        match &mut self.store {
            Some(store) => store.data(id, &values, visitor),
            None => Ok(()),
        }
    }

    /// The files beside this one that hold the rest, by their paths in the model's folder; once
    /// this one has ended.
    pub fn beside_files(&self) -> Result<Vec<String>> {
        let mut files: Vec<String> = Vec::new();
        for external in &self.external {
            let path = format!("{}{}", super::folder(&self.file), external.location);
            if !files.contains(&path) {
                files.push(path);
            }
        }
        if files.len() > MOST_FILES {
            return Err(self.invalid(format!("it is in more than {MOST_FILES} files")));
        }
        Ok(files)
    }

    /// Goes on with a file beside the first.
    pub fn go_on(&mut self, file: &str) {
        let folder = super::folder(&self.file).to_owned();
        let location = file.strip_prefix(&folder).unwrap_or(file);
        self.segments = Vec::new();
        for external in &self.external {
            if external.location == location {
                let end = external.start.saturating_add(external.size);
                self.segments.push((external.start, end, external.id));
            }
        }
        self.segments.sort_unstable();
        file.clone_into(&mut self.file);
        self.received = 0;
        self.state = State::Beside;
    }

    /// Bytes of a file beside the first.
    fn beside(&mut self, bytes: &[u8], visitor: &mut dyn Visitor) -> Result<()> {
        let (from, until) = (self.received, self.received + bytes.len() as u64);
        let Some(store) = &mut self.store else {
            return Ok(());
        };
        for (start, end, id) in &self.segments {
            if *start >= until {
                break;
            }
            let (first, last) = ((*start).max(from), (*end).min(until));
            if first < last {
                #[expect(clippy::cast_possible_truncation, reason = "within the slice")]
                let range = (first - from) as usize..(last - from) as usize;
                store.data(*id, &bytes[range], visitor)?;
            }
        }
        Ok(())
    }

    /// Checks that all the data has arrived.
    pub fn finish(&self) -> Result<()> {
        if let State::Beside = self.state {
            let last = self.segments.iter().map(|(_, end, _)| *end).max();
            let end = last.filter(|end| *end > self.received);
            return end.map_or(Ok(()), |end| {
                Err(Error::TruncatedStream {
                    file: self.file.clone(),
                    got: self.received,
                    expected: Some(end),
                })
            });
        }
        let ended = matches!(self.state, State::Tag) && self.frames.is_empty();
        let (true, true, Some(store)) = (ended, self.held.is_empty(), &self.store) else {
            return Err(Error::TruncatedStream {
                file: self.file.clone(),
                got: self.received,
                expected: None,
            });
        };
        match self.opset {
            None => return Err(self.invalid("it does not say of which opset its operators are")),
            Some(opset) if !OPSETS.contains(&opset) => {
                return Err(self.invalid(format!(
                    "its operators are of opset {opset}; known are those from {} to {}",
                    OPSETS.start(),
                    OPSETS.end()
                )));
            }
            Some(_) => {}
        }
        if !self.outputs.contains(&self.output) {
            return Err(self.invalid(format!("{} is not among its outputs", self.output)));
        }
        match store.missing() {
            Some(tensor) if self.external.is_empty() => {
                let reason = format!("it has no values for {tensor}, nor are they in another file");
                Err(self.invalid(reason))
            }
            _ => Ok(()),
        }
    }

    /// Whether every matrix in 8 bits has one scale, once the file is complete.
    pub fn is_by_tensor(&self) -> bool {
        self.store.as_ref().is_some_and(Store::is_by_tensor)
    }

    /// Checks that all tensors are complete, when all files have ended.
    pub fn finish_all(&self) -> Result<()> {
        match self.store.as_ref().and_then(Store::missing) {
            Some(tensor) => Err(self.invalid(format!("there are no values for {tensor}"))),
            None => Ok(()),
        }
    }
}

/// Keeps bytes, or says that there is no room.
fn keep(held: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    let full = |_| Error::OutOfMemory { bytes: bytes.len() };
    held.try_reserve(bytes.len()).map_err(full)?;
    held.extend_from_slice(bytes);
    Ok(())
}

/// The state with so many bytes left.
fn after(left: u64, state: impl Fn(u64) -> State) -> State {
    if left == 0 { State::Tag } else { state(left) }
}

/// As many of `bytes` as there are `left`.
fn part(bytes: &[u8], left: u64) -> &[u8] {
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    &bytes[..bytes.len().min(left)]
}
