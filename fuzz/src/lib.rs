//! What the fuzz targets do with their input. `tests/fuzz.rs` includes this file and does the same
//! with the committed corpora.
//!
//! Every target loads a model through the public `Loader`, with one file made of the input, and
//! embeds a short text with what loads: errors are expected; panics, values that are not finite,
//! endless conversations and memory beyond [`bound`] are not.
//!
//! `cargo run --example seeds` writes what fuzzing begins with into corpus/. What is committed
//! there is a choice of what it then found, small files first: together they reach what all of them
//! reach, or nearly.

#[path = "../../tests/common/files.rs"]
pub mod files;
#[path = "../../tests/common/models.rs"]
mod models;
#[path = "../../tests/common/synthetic.rs"]
mod synthetic;
#[path = "../../tests/common/zip.rs"]
pub mod zip;

pub mod edits;
pub mod seeds;
pub mod small;
mod tokenizer;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use gossamer::{
    ChunkOptions, Cpu, Embedder, EncodeOptions, Input, LoadOptions, Loader, MultiOptions, Result,
    SparseOptions, Step, WeightDtype,
};
use models::MODELS;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Memory that a load may take whatever its files say. The largest parts of it: the layout of 1,024
/// layers, which a config of ten digits asks for, and one tensor in its final form, which is made
/// when its first row is there.
const FIXED: usize = 32 << 20;
/// Memory for each byte of the files. JSON is the dearest: `0,` becomes a value of 32 bytes in a
/// vector that grows by doubling, and while it grows the old one is there, too.
const PER_BYTE: usize = 64;
/// Memory for each byte of a text: it may become 40 times as long, with a place of 16 bytes for
/// each byte, twice while a part works on it.
const PER_BYTE_OF_TEXT: usize = 40 * 2 * 17 * 2;
/// Steps of the conversation with the loader. The models here have at most 30 files.
const MOST_STEPS: usize = 100;

/// The most memory for files of so many bytes in all.
const fn bound(bytes: usize) -> usize {
    FIXED + PER_BYTE * bytes
}

/// A model's files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The quantised layouts of `tests/fixtures/quantized`.
pub const LAYOUTS: [&str; 18] = [
    "awq-4",
    "bitsandbytes-8",
    "bitsandbytes-fp4",
    "bitsandbytes-nf4",
    "block-fp8",
    "compressed-fp8",
    "compressed-int8",
    "compressed-packed-4",
    "compressed-packed-4-asymmetric",
    "compressed-packed-8",
    "gptq-4",
    "gptq-4-act-order",
    "gptq-8-v2",
    "mlx-3",
    "mlx-4",
    "mlx-8",
    "quanto-8",
    "torchao-8",
];

/// Files of `tests/fixtures/gguf`: one for each kind of tokenizer and a few types of blocks.
pub const GGUF: [&str; 6] = [
    "bert-q8_0",
    "bert-q4_k",
    "bert-q6_k",
    "nomic-q8_0",
    "qwen3-q8_0",
    "xlm-roberta-q8_0",
];

/// Files of `tests/fixtures/onnx`: one for each way of storing weights and graphs, all of
/// `tiny-bert`.
pub const ONNX: [&str; 7] = ["slim", "O2", "O4", "int8", "q4", "q4-tables", "external"];

/// A weight file, in chunks of any size. Byte 0: dtype in bits 0 and 1; bit 2 chooses between the
/// file as it is and edits of a file that is quantised in the layout of the bits above, or was
/// saved by us. Byte 1: how it is cut into chunks.
pub fn safetensors(input: &[u8]) {
    let [how, cuts, rest @ ..] = input else {
        return;
    };
    if how & 4 == 0 {
        let read = |name: &str| match name {
            "model.safetensors" => Some(rest),
            name => small::BERT.get(name).map(Vec::as_slice),
        };
        check(dtype(*how), *cuts, None, read);
        return;
    }
    let layout = usize::from(how >> 3) % QUANTIZED.len();
    let folder = &QUANTIZED[layout];
    let weights = edits::apply(&folder["model.safetensors"], rest);
    let read = |name: &str| match name {
        "model.safetensors" => Some(weights.as_slice()),
        name => folder.get(name).map(Vec::as_slice),
    };
    check(dtype(*how), *cuts, None, read);
}

/// A torch checkpoint. Byte 0: dtype in bits 0 and 1; bits 2 and 3 choose the file; bit 4, whether
/// the input is the file itself or the parts of it (see [`zip::parts`]). Byte 1: how it is cut into
/// chunks.
pub fn torch(input: &[u8]) {
    let [how, cuts, rest @ ..] = input else {
        return;
    };
    let file = if how & 16 == 0 {
        rest.to_vec()
    } else {
        zip::parts(rest)
    };
    let (model, path) = match how >> 2 & 3 {
        0 | 1 => (&*small::BERT, "pytorch_model.bin"),
        2 => (&*small::M3, "sparse_linear.pt"),
        _ => (&*small::M3, "colbert_linear.pt"),
    };
    let read = |name: &str| match name {
        name if name == path => Some(file.as_slice()),
        "model.safetensors" if path == "pytorch_model.bin" => None,
        name => model.get(name).map(Vec::as_slice),
    };
    check(dtype(*how), *cuts, None, read);
}

/// `rest` as a file if bit 2 of `how` is 0. Otherwise the one of `files` that the bits above
/// choose, with changes of four bytes each: a place, and what is put there.
fn given_or_changed(how: u8, rest: &[u8], files: &[Vec<u8>]) -> Vec<u8> {
    if how & 4 == 0 {
        return rest.to_vec();
    }
    let mut file = files[usize::from(how >> 3) % files.len()].clone();
    for [low, middle, high, byte] in rest.as_chunks::<4>().0 {
        let place = u32::from_le_bytes([*low, *middle, *high, 0]) as usize;
        let place = place % file.len();
        file[place] = *byte;
    }
    file
}

/// A GGUF file. Byte 0: dtype in bits 0 and 1; bit 2 chooses between the file as it is and one of
/// [`GGUF`], by the bits above, with changes of four bytes each: a place, and what is put there.
/// Byte 1: how it is cut into chunks.
pub fn gguf(input: &[u8]) {
    let [how, cuts, rest @ ..] = input else {
        return;
    };
    let file = given_or_changed(*how, rest, &GGUF_FILES);
    let read = |name: &str| (name == GGUF_NAME).then_some(file.as_slice());
    check(dtype(*how), *cuts, Some(GGUF_NAME), read);
}

/// An ONNX file of `tiny-bert`. Byte 0: dtype in bits 0 and 1; bit 2 chooses between the file as it
/// is and one of [`ONNX`], by the bits above, with changes of four bytes each: a place, and what is
/// put there. Byte 1: how it is cut into chunks.
pub fn onnx(input: &[u8]) {
    let [how, cuts, rest @ ..] = input else {
        return;
    };
    let file = given_or_changed(*how, rest, &ONNX_FILES);
    let read = |name: &str| match name {
        "onnx/model.onnx" => Some(file.as_slice()),
        "onnx/tiny-bert.external.onnx_data" => Some(EXTERNAL.as_slice()),
        name => TINY_BERT.get(name).map(Vec::as_slice),
    };
    check(dtype(*how), *cuts, None, read);
}

/// A small file. Byte 0 chooses the model, byte 1 the file among the model's small ones.
pub fn config(input: &[u8]) {
    let [model, file, rest @ ..] = input else {
        return;
    };
    let model = &FOLDERS[usize::from(*model) % FOLDERS.len()];
    let small = small_files(model);
    let Some(changed) = small.get(usize::from(*file) % small.len().max(1)) else {
        return;
    };
    let read = |name: &str| {
        if name == changed.as_str() {
            Some(rest)
        } else {
            model.get(name).map(Vec::as_slice)
        }
    };
    check(WeightDtype::F32, 0, None, read);
}

/// An index of shards. Byte 0: dtype.
pub fn index(input: &[u8]) {
    let [how, rest @ ..] = input else {
        return;
    };
    let read = |name: &str| match name {
        "model.safetensors" => None,
        "model.safetensors.index.json" => Some(rest),
        name => {
            let small = small::BERT.get(name).or_else(|| small::SHARDS.get(name));
            small.map(Vec::as_slice)
        }
    };
    check(dtype(*how), 0, None, read);
}

/// A tokenizer.json. Byte 0: 0 for the file itself, anything else for one that is made of the
/// choices that follow. Several texts are tokenised with what loads, and their tokens decoded.
pub fn tokenizer(input: &[u8]) {
    let [how, rest @ ..] = input else {
        return;
    };
    let made = tokenizer::json(rest).to_string();
    let file = if *how == 0 { rest } else { made.as_bytes() };
    let read = |name: &str| match name {
        "tokenizer.json" => Some(file),
        name => small::BERT.get(name).map(Vec::as_slice),
    };
    check(WeightDtype::F32, 0, None, read);
    let Ok(embedder) = open(WeightDtype::F32, 0, None, read) else {
        return;
    };
    for text in TEXTS.iter() {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        if let Ok(tokens) = embedder.tokenize(text, true) {
            let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
            let _ = embedder.decode(&ids, false);
        }
        let peak = MEMORY.peak_usage().saturating_sub(before);
        let most = FIXED + PER_BYTE_OF_TEXT * text.len();
        assert!(
            peak <= most,
            "{peak} bytes for a text where {most} are allowed"
        );
        let _ = embedder.encode(vec![Input::from(text.as_str())], &EncodeOptions::default());
        let _ = embedder.chunk(text, ChunkOptions::default(), &EncodeOptions::default());
    }
}

/// Texts of the kinds of characters that parts tell apart, and long ones.
static TEXTS: LazyLock<[String; 6]> = LazyLock::new(|| {
    [
        String::new(),
        " \t ".to_owned(),
        "ab AB e\u{301}\u{e9} \u{4e2d}\u{6587}\u{3002} 1234\r\n\n x\u{1f600}\u{fdfa}\u{0}[CLS] <0x61>\u{2581}a".to_owned(),
        "a".repeat(3000),
        " ".repeat(3000),
        "a b, \u{e9}".repeat(600),
    ]
});

/// A model's files that hold no weights, in the order of their names.
pub fn small_files(model: &Files) -> Vec<&String> {
    let small = |name: &&String| {
        Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "json")
    };
    model.keys().filter(small).collect()
}

fn dtype(how: u8) -> WeightDtype {
    match how & 3 {
        0 => WeightDtype::F32,
        1 => WeightDtype::Q4,
        2 => WeightDtype::Q8,
        _ => WeightDtype::Q6,
    }
}

/// [`MODELS`], with the smallest tokenizer: patterns of the real ones take longer to compile than
/// all the rest.
static FOLDERS: LazyLock<Vec<Files>> = LazyLock::new(|| {
    let mut folders = MODELS.map(folder);
    for files in &mut folders {
        let tokenizer = small::BERT["tokenizer.json"].clone();
        files.insert("tokenizer.json".to_owned(), tokenizer);
    }
    folders.into()
});

const GGUF_NAME: &str = "model.gguf";

static GGUF_FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let file = |name| std::fs::read(fixtures().join("gguf").join(format!("{name}.gguf")));
    let files = GGUF.map(|name| file(name).expect("the fixtures can be read"));
    files.into()
});

static TINY_BERT: LazyLock<Files> = LazyLock::new(|| {
    let mut files = folder("tiny-bert");
    files.retain(|name, _| !name.ends_with(".safetensors"));
    let tokenizer = small::BERT["tokenizer.json"].clone();
    files.insert("tokenizer.json".to_owned(), tokenizer);
    files
});

static ONNX_FILES: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| ONNX.map(|name| onnx_file(&format!("{name}.onnx"))).into());

static EXTERNAL: LazyLock<Vec<u8>> = LazyLock::new(|| onnx_file("external.onnx_data"));

fn onnx_file(name: &str) -> Vec<u8> {
    let file = fixtures().join("onnx").join(format!("tiny-bert.{name}"));
    std::fs::read(file).expect("the fixtures can be read")
}

static QUANTIZED: LazyLock<Vec<Files>> = LazyLock::new(|| {
    let quantized = folder("quantized");
    let files = LAYOUTS.map(|layout| {
        let mut files = quantized.clone();
        let weights = files.remove(&format!("{layout}.safetensors"));
        files.retain(|name, _| !name.ends_with(".safetensors"));
        files.insert("model.safetensors".to_owned(), weights.unwrap_or_default());
        files
    });
    let saved = [WeightDtype::Q8, WeightDtype::Q6].map(saved);
    files.into_iter().chain(saved).collect()
});

/// A model that was saved.
fn saved(dtype: WeightDtype) -> Files {
    let read = |name: &str| small::BERT.get(name).map(Vec::as_slice);
    let embedder = open(dtype, 0, None, read).expect("the small model loads");
    let files = embedder.save(None).expect("it can be saved");
    let bytes = |file: &gossamer::SavedFile| {
        let mut bytes = vec![0; usize::try_from(file.size).unwrap_or_default()];
        let read = embedder.read_saved(file, 0, &mut bytes);
        read.expect("the CPU has all weights");
        (file.path.clone(), bytes)
    };
    files.iter().map(bytes).collect()
}

/// All files of a folder of `tests/fixtures`; weights that are only listed are made up from their
/// list.
pub fn folder(name: &str) -> Files {
    fn walk(folder: &Path, prefix: &str, files: &mut Files) {
        for entry in std::fs::read_dir(folder).expect("the fixtures are there") {
            let path = entry.expect("the fixtures can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = format!("{prefix}{name}");
            if path.is_dir() {
                walk(&path, &format!("{name}/"), files);
            } else if !name.contains("reference") {
                let bytes = std::fs::read(&path).expect("the fixtures can be read");
                match name.strip_suffix(".safetensors.json") {
                    Some(start) => {
                        let weights = synthetic::file(&bytes);
                        files.insert(format!("{start}.safetensors"), weights);
                    }
                    None => drop(files.insert(name, bytes)),
                }
            }
        }
    }
    let mut files = Files::new();
    walk(&fixtures().join(name), "", &mut files);
    files
}

/// `tests/fixtures`, whether this file is of the fuzz crate or included in a test.
pub fn fixtures() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fixtures = "tests/fixtures";
    let here = root.join(fixtures);
    if here.exists() {
        here
    } else {
        root.join("..").join(fixtures)
    }
}

/// Loads a model and embeds a text, and checks what must hold of any input.
fn check<'a>(
    dtype: WeightDtype,
    cuts: u8,
    file: Option<&str>,
    read: impl Fn(&str) -> Option<&'a [u8]>,
) {
    let given = Cell::new(0);
    let read = |name: &str| read(name).inspect(|bytes| given.set(given.get() + bytes.len()));
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    if let Ok(embedder) = open(dtype, cuts, file, read) {
        embed(&embedder);
        save(&embedder);
    }
    let peak = MEMORY.peak_usage().saturating_sub(before);
    let most = bound(given.get());
    assert!(peak <= most, "{peak} bytes where {most} are allowed");
}

fn open<'a>(
    dtype: WeightDtype,
    cuts: u8,
    file: Option<&str>,
    read: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<Embedder<Cpu>> {
    let options = LoadOptions {
        model: "fuzz".to_owned(),
        dtype: Some(dtype),
        file: file.map(str::to_owned),
        saveable: true,
        ..LoadOptions::default()
    };
    let mut loader = Loader::new(Cpu::new(), options);
    for _ in 0..MOST_STEPS {
        let name = match loader.next()? {
            Step::Small(names) => {
                for name in names {
                    loader.provide(&name, read(&name).map(<[u8]>::to_vec))?;
                }
                continue;
            }
            Step::Stream { file, .. } => file,
            Step::Ready => return loader.finish(),
        };
        let Some(mut bytes) = read(&name) else {
            loader.provide(&name, None)?;
            continue;
        };
        let mut cuts = Cuts::new(cuts);
        while !bytes.is_empty() {
            let (chunk, rest) = bytes.split_at(cuts.next(bytes.len()));
            loader.push(chunk)?;
            bytes = rest;
        }
        loader.end()?;
    }
    panic!("the loader asks without end");
}

/// Sizes of chunks.
struct Cuts {
    /// 0: all in one.
    state: u32,
    /// Bits of the largest chunk.
    bits: u32,
}

impl Cuts {
    fn new(seed: u8) -> Self {
        Self {
            state: u32::from(seed).wrapping_mul(0x9e37_79b1),
            bits: u32::from(seed) % 13,
        }
    }

    fn next(&mut self, left: usize) -> usize {
        if self.state == 0 {
            return left;
        }
        self.state = self
            .state
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223)
            | 1;
        let size = (self.state >> 8) as usize & ((1 << self.bits) - 1);
        (size + 1).min(left)
    }
}

/// Whatever loads can be saved, if its family can.
fn save(embedder: &Embedder<Cpu>) {
    let Ok(files) = embedder.save(None) else {
        return;
    };
    let mut piece = vec![0; 1 << 12];
    for file in &files {
        let mut offset = 0;
        while offset < file.size {
            let read = embedder.read_saved(file, offset, &mut piece);
            let read = read.expect("the CPU has all weights");
            assert!(read > 0, "{} ends early", file.path);
            offset += read as u64;
        }
    }
}

/// Everything that a model can be asked for, of a short text.
fn embed(embedder: &Embedder<Cpu>) {
    let text = || vec![Input::from("a b")];
    let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
    if let Ok(batch) = embedder.encode(text(), &EncodeOptions::default()) {
        assert!(finite(&batch.data), "a dense vector is not finite");
    }
    if let Ok(batch) = embedder.encode_sparse(text(), &SparseOptions::default()) {
        let mut vectors = batch.vectors.iter();
        assert!(vectors.all(|vector| finite(&vector.values)));
    }
    for task in ["query", "document"] {
        let options = SparseOptions {
            task: Some(task.to_owned()),
            ..SparseOptions::default()
        };
        let _ = embedder.encode_sparse(text(), &options);
    }
    let options = MultiOptions {
        dense: true,
        sparse: true,
        tokens: true,
        ..MultiOptions::default()
    };
    let _ = embedder.encode_multi(text(), &options);
    let _ = embedder.tokenize("a b", true);
    let _ = (embedder.space_id(), embedder.info());
}
