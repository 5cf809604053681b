//! Our own grid, which saved models have: how `model::load::save` writes a matrix, and how it is
//! read again.
//!
//! Rows are cut into groups of [`GROUP`] and rotated (`backend::cpu::rotation`); each group has one
//! scale and symmetric codes of 8 or 4 bits. The tensors are those of compressed-tensors, 8 bits as
//! `int-quantized` and 4 as `pack-quantized`. Its `transform_config` says that weights are rotated:
//! online Hadamard transforms of 64 at the inputs of linear modules, and at the outputs of tables.

use serde_json::{Map, Value, json};

use super::affine::{element_bits, packed_bits};
use super::grid::Grid;
use super::matrix::{Component, QuantizedMatrix};
use super::{Layout, Library, Role, RowDecoder, compressed_tensors};
use crate::backend::{GROUP, WeightDtype};
use crate::error::{Error, Result};

const WEIGHT: &str = ".weight";
const PACKED: &str = ".weight_packed";
const SCALES: &str = ".weight_scale";
const SHAPE: &str = ".weight_shape";

/// Looked at only in models that we saved.
pub(super) static LIBRARY: Library = Library {
    name: compressed_tensors::NAME,
    method: None,
    check: None,
    layouts: &[
        Layout {
            tensors: &[(WEIGHT, Role::Codes, true), (SCALES, Role::Scales, true)],
            dtypes: &["I8"],
            bits: element_bits,
            needs_all_codes: false,
            decoder: reader,
        },
        Layout {
            tensors: &[
                (PACKED, Role::Codes, true),
                (SCALES, Role::Scales, true),
                (SHAPE, Role::Unused, false),
            ],
            dtypes: &["I32"],
            bits: four_bits,
            needs_all_codes: false,
            decoder: reader,
        },
    ],
};

fn four_bits(matrix: &QuantizedMatrix, codes: &Component) -> Option<usize> {
    packed_bits(matrix, codes).filter(|bits| *bits == 4)
}

/// Reads rows as they are.
pub struct Reader {
    dtype: WeightDtype,
    scales: Grid,
}

fn reader(matrix: &QuantizedMatrix) -> Result<RowDecoder> {
    let scales = matrix.scales()?;
    if scales.block != (1, GROUP) {
        return Err(matrix.wrong("not in groups of 64 as Gossamer does it"));
    }
    let dtype = match matrix.bits()? {
        4 => WeightDtype::Q4,
        _ => WeightDtype::Q8,
    };
    Ok(RowDecoder::Own(Reader { dtype, scales }))
}

impl Reader {
    /// The scales of a row.
    pub fn scales(&self, row: usize) -> &[f32] {
        self.scales.row(row)
    }

    /// The codes of a row of the matrix `name`, from its bytes.
    pub fn codes(&self, name: &str, bytes: &[u8], out: &mut [i8]) -> Result<WeightDtype> {
        if self.dtype == WeightDtype::Q4 {
            for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
                *pair = [byte & 15, byte >> 4].map(|code| code.cast_signed() - 8);
            }
            return Ok(self.dtype);
        }
        let codes = bytes.iter().map(|byte| byte.cast_signed());
        out.iter_mut()
            .zip(codes)
            .for_each(|(out, code)| *out = code);
        if out.contains(&i8::MIN) {
            return Err(Error::UnsupportedModel(format!(
                "{name} has a code of -128, which saved models do not have; save the model again"
            )));
        }
        Ok(self.dtype)
    }
}

/// The bytes of a row of codes.
pub fn bytes(dtype: WeightDtype, codes: Vec<i8>) -> Vec<u8> {
    if dtype == WeightDtype::Q4 {
        // Half of the range is added, and the first code of a pair is in the low bits.
        let (pairs, _) = codes.as_chunks::<2>();
        let pairs = pairs
            .iter()
            .map(|pair| pair.map(|code| (code + 8).cast_unsigned()));
        pairs.map(|[low, high]| low | high << 4).collect()
    } else {
        codes.into_iter().map(i8::cast_unsigned).collect()
    }
}

/// A tensor to be written: name, dtype and shape.
pub type TensorSpec = (String, &'static str, Vec<usize>);

/// The tensor of the codes of a module's matrix.
pub fn codes_tensor(module: &str, dtype: WeightDtype, rows: usize, groups: usize) -> TensorSpec {
    let columns = groups * GROUP;
    if dtype == WeightDtype::Q4 {
        // A word holds eight codes.
        let shape = vec![rows, columns / 8];
        return (format!("{module}{PACKED}"), "I32", shape);
    }
    (format!("{module}{WEIGHT}"), "I8", vec![rows, columns])
}

/// The tensor of its scales.
pub fn scales_tensor(module: &str, rows: usize, groups: usize) -> TensorSpec {
    (format!("{module}{SCALES}"), "F32", vec![rows, groups])
}

/// The tensor with its shape, which codes in words do not tell, and the bytes of this tensor.
pub fn shape_tensor(
    module: &str,
    dtype: WeightDtype,
    rows: usize,
    groups: usize,
) -> Option<(TensorSpec, Vec<u8>)> {
    let sizes = [rows, groups * GROUP].into_iter();
    let bytes = sizes.flat_map(|size| (size as u64).to_le_bytes());
    let tensor = (format!("{module}{SHAPE}"), "I64", vec![2]);
    (dtype == WeightDtype::Q4).then(|| (tensor, bytes.collect()))
}

/// A module whose weight is written in codes.
pub struct Module {
    /// Its name, without prefix and with patterns for numbers: a regular expression.
    pattern: String,
    dtype: WeightDtype,
    /// Whether the module is a table of embeddings.
    is_table: bool,
}

impl Module {
    /// The module whose weight is the tensor `tensor`, a name without prefix.
    pub fn new(tensor: &str, dtype: WeightDtype, is_table: bool) -> Self {
        let module = tensor.strip_suffix(WEIGHT).unwrap_or(tensor);
        let number =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let parts = module
            .split('.')
            .map(|part| if number(part) { r"\d+" } else { part });
        let pattern = parts.collect::<Vec<_>>().join(r"\.");
        Self {
            pattern: format!(r"re:(.*\.)?{pattern}$"),
            dtype,
            is_table,
        }
    }
}

/// The `quantization_config` of a saved model.
pub fn quantization_config(modules: &[Module]) -> Value {
    let targets = |chosen: &dyn Fn(&Module) -> bool| -> Vec<&str> {
        let chosen = modules.iter().filter(|module| chosen(module));
        let mut patterns: Vec<&str> = chosen.map(|module| module.pattern.as_str()).collect();
        patterns.sort_unstable();
        patterns.dedup();
        patterns
    };
    let mut groups = Map::new();
    for (dtype, bits, format) in [
        (WeightDtype::Q8, 8, "int-quantized"),
        (WeightDtype::Q4, 4, "pack-quantized"),
    ] {
        let targets = targets(&|module| module.dtype == dtype);
        if !targets.is_empty() {
            let weights = json!({
                "num_bits": bits,
                "type": "int",
                "symmetric": true,
                "strategy": "group",
                "group_size": GROUP,
            });
            let group = json!({ "format": format, "targets": targets, "weights": weights });
            groups.insert(dtype.name().to_owned(), group);
        }
    }
    let formats: Vec<&Value> = groups.values().map(|group| &group["format"]).collect();
    let format = match formats.as_slice() {
        [one] => (*one).clone(),
        _ => json!("mixed-precision"),
    };
    let mut apply = Vec::new();
    for (is_table, location) in [(false, "input"), (true, "output")] {
        let targets = targets(&|module| module.is_table == is_table);
        if !targets.is_empty() {
            apply.push(json!({ "targets": targets, "location": location }));
        }
    }
    let hadamard = json!({ "type": "hadamard", "head_dim": GROUP, "apply": apply });
    json!({
        "quant_method": compressed_tensors::NAME,
        "quantization_status": "compressed",
        "format": format,
        "config_groups": groups,
        "ignore": [],
        "transform_config": { "config_groups": { "hadamard": hadamard } },
    })
}
