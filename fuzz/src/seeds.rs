//! The inputs that fuzzing begins with: valid files, made of `tests/fixtures` and of the small
//! models.

use serde_json::json;

use super::files::Tensor;
use super::models::MODELS;
use super::{GGUF, LAYOUTS, ONNX, fixtures, folder, small, small_files, zip};

/// An input's name, and its bytes.
pub type Seed = (String, Vec<u8>);

/// For `safetensors`.
pub fn safetensors() -> Vec<Seed> {
    let weights = &small::BERT["model.safetensors"];
    let small = (0..3u8).map(|dtype| {
        let seed = [&[dtype, 77 * dtype], weights.as_slice()].concat();
        (format!("small-{dtype}"), seed)
    });
    let layouts = LAYOUTS.into_iter().chain(["saved", "saved-q6"]);
    let quantized = (0u8..).zip(layouts).flat_map(|(layout, name)| {
        // Unchanged, and with some of the tensors in another order.
        let edits = [("", &[][..]), ("-order", &[5, 9, 20, 0, 5, 14, 3, 0])];
        edits.map(|(suffix, edits)| {
            let seed = [&[layout << 3 | 4, 40 + layout], edits].concat();
            (format!("{name}{suffix}"), seed)
        })
    });
    small.chain(quantized).collect()
}

/// For `torch`.
pub fn torch() -> Vec<Seed> {
    let tensors = small::tensors();
    let pickle = zip::pickle(&tensors);
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or_default().to_le_bytes();
    let mut parts = [&[18, 0][..], &length(&pickle), &pickle].concat();
    for (key, (.., bytes)) in (0u8..).zip(&tensors) {
        parts.extend([&[key][..], &length(bytes), &[0x3c]].concat());
    }
    let file = |how: u8, tensors: &[Tensor]| {
        let storages = tensors.iter().enumerate();
        let storages = storages.map(|(key, (.., bytes))| (key.to_string(), bytes.as_slice()));
        [
            &[how, 9 * how],
            zip::archive(&zip::pickle(tensors), storages).as_slice(),
        ]
        .concat()
    };
    // BGE-M3's heads.
    let head = |rows: usize| {
        let tensor = |name: &str, shape: &[usize]| {
            let bytes = vec![0x3c; 4 * shape.iter().product::<usize>()];
            (name.to_owned(), json!({ "shape": shape }), bytes)
        };
        [tensor("weight", &[rows, 8]), tensor("bias", &[rows])]
    };
    let torchs = ["evil.bin", "sparse_linear.pt"].map(|name| {
        let file = std::fs::read(fixtures().join("torch").join(name));
        let file = file.expect("the fixtures can be read");
        (name.to_owned(), [&[8, 0], file.as_slice()].concat())
    });
    let own = [
        ("small", file(0, &tensors)),
        ("small-parts", parts),
        ("lexical", file(8, &head(1))),
        ("colbert", file(12, &head(4))),
    ];
    let own = own.map(|(name, seed)| (name.to_owned(), seed));
    own.into_iter().chain(torchs).collect()
}

/// For `gguf`: files with nothing changed, and with a few of the first bytes.
pub fn gguf() -> Vec<Seed> {
    let files = (0u8..).zip(GGUF);
    files
        .flat_map(|(file, name)| {
            let how = file << 3 | 4 | (file % 3);
            let edits = [("", &[][..]), ("-changed", &[16, 0, 0, 7, 40, 0, 0, 9])];
            edits.map(|(suffix, edits)| {
                let seed = [&[how, 31 * file], edits].concat();
                (format!("{name}{suffix}"), seed)
            })
        })
        .collect()
}

/// For `onnx`: files with nothing changed, with a few of the first bytes, and a graph by itself.
pub fn onnx() -> Vec<Seed> {
    let files = (0u8..).zip(ONNX);
    let edited = files.flat_map(|(file, name)| {
        let how = file << 3 | 4 | (file % 3);
        let edits = [
            ("", &[][..]),
            ("-changed", &[12, 0, 0, 7, 90, 0, 0, 9]),
            ("-dims", &[0, 128, 0, 1, 200, 200, 0, 255]),
        ];
        edits.map(|(suffix, edits)| {
            let seed = [&[how, 31 * file], edits].concat();
            (format!("{name}{suffix}"), seed)
        })
    });
    // A node, an initializer of one number, an output; then the opset.
    let graph = b"\x0a\x13\x0a\x01w\x0a\x01x\x12\x06logits\x22\x03Add\x2a\x0d\x08\x01\x10\x01\x42\x01w\x4a\x04\0\0\x80\x3f\x62\x08\x0a\x06logits";
    let length = u8::try_from(graph.len()).unwrap_or_default();
    let whole = [&[0, 3, 0x3a, length][..], graph, b"\x42\x02\x10\x11"].concat();
    edited.chain([("graph".to_owned(), whole)]).collect()
}

/// For `config`.
pub fn config() -> Vec<Seed> {
    let models = (0u8..).zip(MODELS);
    models
        .flat_map(|(model, name)| {
            let files = folder(name);
            let seeds = (0u8..).zip(small_files(&files)).map(|(number, path)| {
                let seed = [&[model, number], files[path].as_slice()].concat();
                (format!("{name}-{}", path.replace('/', "-")), seed)
            });
            // Tokenizers are nearly all vocabulary: one or two do.
            let small = |(_, seed): &Seed| seed.len() < 2800;
            seeds.filter(small).collect::<Vec<_>>()
        })
        .collect()
}

/// For `index`.
pub fn index() -> Vec<Seed> {
    let index = &small::SHARDS["model.safetensors.index.json"];
    // A shard that is called what is not there.
    let circle = br#"{"weight_map":{"a":"model.safetensors"}}"#;
    let seeds = [("small", index.as_slice()), ("circle", circle)];
    seeds
        .map(|(name, index)| (name.to_owned(), [&[2], index].concat()))
        .into()
}

/// For `tokenizer`: the smallest files of each kind, and choices.
pub fn tokenizer() -> Vec<Seed> {
    let small = &small::BERT["tokenizer.json"];
    let files = ["tiny-bert", "tiny-qwen3", "tiny-deberta"].map(|name| {
        let json = folder(name).remove("tokenizer.json").unwrap_or_default();
        (name.to_owned(), [&[0], json.as_slice()].concat())
    });
    // Marsaglia's xorshift.
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    let choices = (0..64).map(|number| {
        let choices = (0..160).map(|_| next());
        let seed = std::iter::once(1).chain(choices).collect();
        (format!("choices-{number}"), seed)
    });
    let small = ("small".to_owned(), [&[0], small.as_slice()].concat());
    let all = choices.collect::<Vec<_>>().into_iter();
    all.chain(files).chain([small]).collect()
}
