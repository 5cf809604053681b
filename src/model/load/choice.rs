//! Which weight file of a model to load, where the place lists its files. The npm package chooses
//! alike (`pkg/src/sources/choice.ts`); `tests/fixtures/choices.json` has cases for both.

use crate::backend::WeightDtype;
use crate::model::load::download::Download;
use crate::model::load::options::LoadOptions;
use crate::weights::gguf;

/// Files in 16 bits, by the names of transformers, optimum and transformers.js, the best first.
const HALVES: [&str; 5] = [
    "model.fp16.safetensors",
    "model.f16.safetensors",
    "model.bf16.safetensors",
    "onnx/model_fp16.onnx",
    "onnx/model_O4.onnx",
];

/// Files in 8 bits, the most exact first. With a scale for each channel signed and unsigned codes
/// lose equally little; with one for a whole tensor unsigned ones, which have a zero point, lose a
/// third of what signed ones lose.
const EIGHTHS: [&str; 9] = [
    "model.int8.safetensors",
    "model.q8.safetensors",
    "onnx/model_uint8.onnx",
    "onnx/model_quantized.onnx",
    "onnx/model_int8.onnx",
    "onnx/model_quint8_avx2.onnx",
    "onnx/model_qint8_avx512_vnni.onnx",
    "onnx/model_qint8_avx512.onnx",
    "onnx/model_qint8_arm64.onnx",
];

/// Weight types in names of GGUF files, best first, where nothing is to be lost.
const GGUF: [&str; 11] = [
    "f16", "bf16", "q8_0", "f32", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0",
];
/// The same for the smallest download that is exact enough.
const SMALL_GGUF: [&str; 11] = [
    "q8_0", "f16", "bf16", "q6_k", "q5_k", "q5_1", "q5_0", "f32", "q4_k", "q4_1", "q4_0",
];

/// A file in fewer bits is taken if it has less than this part, in tenths, of the bytes of the
/// usual one.
const WORTHWHILE: u64 = 8;

/// A file of a repository: its path, and its size in bytes where that is known.
pub type Listed = (String, Option<u64>);

impl LoadOptions {
    /// The weight files to try, one after the other if one is refused, given all files of the
    /// repository. `None` leaves it to the loader to find the usual file, and so does
    /// [`LoadOptions::file`] itself.
    pub fn choose(&self, files: &[Listed]) -> Vec<Option<String>> {
        // The files that are preferred may be ONNX files, into which no adapter is merged.
        if self.file.is_some() || self.adapter.is_some() {
            return vec![self.file.clone()];
        }
        let is_small = self.download == Download::Small;
        let size = |name: &str| {
            files
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, size)| *size)
        };
        let usual = usual(files);
        let has_variant = HALVES
            .iter()
            .chain(&EIGHTHS)
            .any(|name| size(name).is_some());
        if usual.is_empty() && !has_variant {
            let types = if is_small { &SMALL_GGUF } else { &GGUF };
            let names = files.iter().map(|(name, _)| name.as_str());
            if let Some(best) = names
                .filter(|name| is_whole_gguf(name))
                .min_by_key(|name| rank(types, name))
            {
                return vec![Some(best.to_owned())];
            }
        }
        if size("config.json").is_none() {
            return vec![None];
        }
        // With the files beside an ONNX file.
        let whole = |name: &str| {
            let beside = format!("{name}_data");
            let parts = files
                .iter()
                .filter(|(other, _)| other == name || other.starts_with(&beside));
            parts.map(|(_, size)| *size).sum::<Option<u64>>()
        };
        let mut least =
            (!usual.is_empty()).then(|| usual.iter().filter_map(|(_, size)| *size).sum());
        let mut chosen = Vec::new();
        if !usual.is_empty() {
            chosen.push(None);
        }
        let mut take = |chosen: &mut Vec<Option<String>>, candidates: &[&str]| {
            let is_worthwhile = |name: &&&str| {
                let is_less =
                    |least: u64| whole(name).is_some_and(|size| 10 * size < WORTHWHILE * least);
                size(name).is_some() && least.is_none_or(is_less)
            };
            if let Some(found) = candidates.iter().find(is_worthwhile) {
                least = Some(whole(found).unwrap_or(u64::MAX / 10));
                chosen.insert(0, Some((*found).to_owned()));
            }
        };
        if self.dtype != Some(WeightDtype::F32) || usual.is_empty() {
            take(&mut chosen, &HALVES);
        }
        if is_small || chosen.is_empty() {
            take(&mut chosen, &EIGHTHS);
        }
        if chosen.is_empty() {
            vec![None]
        } else {
            chosen
        }
    }
}

/// Bytes of the end of a shard's name.
const SHARD: usize = "-00001-of-00002".len();

/// Whether a text is the number of a shard, `-00001-of-00002`.
fn is_number_of(text: &str) -> bool {
    let parts = text
        .strip_prefix('-')
        .and_then(|text| text.split_once("-of-"));
    let is_number = |part: &str| part.len() == 5 && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.is_some_and(|(part, of)| is_number(part) && is_number(of))
}

/// The weights that the loader finds without a choice: those of the first kind that is there.
fn usual(files: &[Listed]) -> Vec<&Listed> {
    let is_shard = |name: &str, stem: &str, end: &str| {
        let number = name
            .strip_prefix(stem)
            .and_then(|name| name.strip_suffix(end));
        number.is_some_and(is_number_of)
    };
    let is_onnx = |name: &str, onnx: &str| {
        name.strip_prefix(onnx)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("_data"))
    };
    let kinds: [&dyn Fn(&str) -> bool; 5] = [
        &|name| name == "model.safetensors",
        &|name| is_shard(name, "model", ".safetensors"),
        &|name| name == "pytorch_model.bin" || is_shard(name, "pytorch_model", ".bin"),
        &|name| is_onnx(name, "onnx/model.onnx"),
        &|name| is_onnx(name, "model.onnx"),
    ];
    let found = kinds.map(|kind| {
        files
            .iter()
            .filter(|(name, _)| kind(name))
            .collect::<Vec<_>>()
    });
    found
        .into_iter()
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

/// Whether a name is that of a GGUF file that is not one of several shards.
fn is_whole_gguf(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let is_shard = stem
        .len()
        .checked_sub(SHARD)
        .and_then(|at| stem.get(at..))
        .is_some_and(is_number_of);
    gguf::is_gguf(name) && !is_shard
}

fn rank(types: &[&str], name: &str) -> usize {
    let name = name.to_ascii_lowercase();
    let found = types.iter().position(|kind| name.contains(kind));
    found.unwrap_or(types.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Deserialize)]
    struct Case {
        about: String,
        files: BTreeMap<String, Option<u64>>,
        dtype: Option<String>,
        download: Option<String>,
        chosen: Vec<Option<String>>,
    }

    #[test]
    fn files_are_chosen_as_the_package_does() {
        let cases = include_str!("../../../tests/fixtures/choices.json");
        let cases: Vec<Case> = serde_json::from_str(cases).unwrap();
        assert!(cases.len() > 15);
        for case in cases {
            let options = LoadOptions {
                dtype: case.dtype.as_deref().and_then(WeightDtype::from_name),
                download: Download::from_name(case.download.as_deref().unwrap_or("auto")).unwrap(),
                ..LoadOptions::default()
            };
            let files: Vec<Listed> = case.files.into_iter().collect();
            assert_eq!(options.choose(&files), case.chosen, "{}", case.about);
            let named = LoadOptions {
                file: Some("x.gguf".to_owned()),
                ..options
            };
            assert_eq!(named.choose(&files), [Some("x.gguf".to_owned())]);
        }
    }
}
