//! Matrices that a checkpoint stores in 2 to 8 bits, in the layouts of the libraries that people
//! quantise with. One matrix is several tensors: codes, scales, zero points, and so on.
//!
//! Each library is one file of this folder: the names of its tensors, the check of its codes, and
//! its decoder. Adding one takes such a file and its line in `LIBRARIES`. A layout is recognised by
//! the names of its tensors, and the number of bits and the group size by their shapes.
//! [`QuantizedMatrix`] keeps tensors as they are stored until everything that a row needs has
//! arrived; then it hands out rows in f32, one at a time.
//!
//! | layout | codes | value |
//! |---|---|---|
//! | MLX, affine | `weight`: U32 `[out, in · bits / 32]`, low bits first | code · `scales` + `biases`, `[out, groups]` |
//! | compressed-tensors, packed | `weight_packed`: I32, the same | (code − zero) · `weight_scale` |
//! | compressed-tensors, block-wise FP8, quanto, torchao | `weight`: I8 or F8 `[out, in]` | (code − zero) · scale of the tensor, its rows, groups or blocks |
//! | GPTQ | `qweight`: I32 `[in · bits / 32, out]`, along the columns | (code − zero) · `scales`, `[groups, out]` |
//! | AWQ | `qweight`: I32 `[in, out / 8]`, columns of a word in the order 0 2 4 6 1 3 5 7 | the same |
//! | bitsandbytes, int8 | `weight`: I8 `[out, in]` | code · `SCB` / 127 |
//! | bitsandbytes, nf4 and fp4 | `weight`: U8, two codes a byte, the first one high, over the whole matrix | `quant_map`\[code\] · `absmax` of the block |
//! | Gossamer's own grid | as compressed-tensors', int8 or packed 4 bits | code · `weight_scale`, then rotated back |
//! | Gossamer's levels (q6) | `weight_levels`: U8, indices low bits first | level\[index\] · `weight_scale`, then rotated back |

mod affine;
mod awq;
mod bitsandbytes;
mod block_fp8;
mod columns;
mod compressed_tensors;
mod gptq;
mod grid;
pub mod levels;
mod matrix;
mod mlx;
pub mod own_grid;
mod quanto;
mod torchao;

use std::sync::Arc;

use serde_json::Value;

pub use self::matrix::{Component, QuantizedMatrix, Row};
use crate::error::Result;
use crate::full::{self, IS_FULL};
use crate::weights::TensorInfo;

/// All libraries whose layouts are read. The common build reads none of them. [`own_grid`] and
/// [`levels`] are not among them: only the models that we save have them.
static LIBRARIES: &[&Library] = if IS_FULL {
    &[
        &mlx::LIBRARY,
        &compressed_tensors::LIBRARY,
        &block_fp8::LIBRARY,
        &quanto::LIBRARY,
        &torchao::LIBRARY,
        &gptq::LIBRARY,
        &awq::LIBRARY,
        &bitsandbytes::LIBRARY,
    ]
} else {
    &[]
};

/// The endings of the names of scales, by which the common build recognises the layouts that it
/// does not read. Every layout needs a tensor with one of them.
const SCALES: [&str; 7] = [
    ".scales",
    ".weight_scale",
    ".weight_scale_inv",
    ".weight._scale",
    "._weight_scale",
    ".SCB",
    ".absmax",
];

/// Those of the models that we save.
static OWN: [&Library; 2] = [&own_grid::LIBRARY, &levels::LIBRARY];

/// Says what in a `quantization_config` cannot be read.
pub type ConfigCheck = fn(&Value) -> Result<(), String>;

/// A library that writes quantised checkpoints.
pub struct Library {
    /// Its name, for `info` and for errors.
    pub name: &'static str,
    /// Its `quant_method` in config.json. MLX has none.
    pub method: Option<&'static str>,
    /// Checks `quantization_config`, if there are variants that the layouts do not cover. The error
    /// says what is wrong with it.
    pub check: Option<ConfigCheck>,
    /// How it stores a matrix; the first layout that fits is taken.
    pub layouts: &'static [Layout],
}

/// One way to store a matrix.
pub struct Layout {
    /// The tensors that make up the matrix.
    pub tensors: &'static [TensorName],
    /// Dtypes that the codes may have.
    pub dtypes: &'static [&'static str],
    /// Bits of a code, or `None` if codes of this shape cannot be those of the matrix.
    pub bits: fn(&QuantizedMatrix, &Component) -> Option<usize>,
    /// Whether a row needs all codes of the matrix, rather than only its own.
    pub needs_all_codes: bool,
    /// Makes the decoder, once every tensor but the codes has arrived.
    pub decoder: fn(&QuantizedMatrix) -> Result<RowDecoder>,
}

/// How the rows of a matrix come out.
pub enum RowDecoder {
    /// Decoded to f32
    Values(Box<dyn Decoder>),
    /// Unchanged, in our own grid
    Own(own_grid::Reader),
    /// Expanded to codes of our own grid in 8 bits
    Levels(levels::Reader),
}

impl RowDecoder {
    fn values(decoder: impl Decoder + 'static) -> Self {
        Self::Values(Box::new(decoder))
    }
}

/// Turns codes into values.
pub trait Decoder: Send + Sync {
    /// Decodes row number `row` into `out`. `codes` are the bytes of that row, or those of the
    /// whole matrix if the layout [needs all codes](Layout::needs_all_codes).
    fn decode(&self, codes: &[u8], row: usize, out: &mut [f32]);
}

/// How a tensor of a matrix is named: what follows the module's name, what the tensor is, and
/// whether it must be there.
pub type TensorName = (&'static str, Role, bool);

/// What a tensor is to its matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The quantised values.
    Codes,
    /// Factors.
    Scales,
    /// Added after the multiplication with the scale.
    Biases,
    /// Subtracted before the multiplication with the scale.
    Zeros,
    /// The group of each column.
    Groups,
    /// The value of each of the sixteen codes.
    Map,
    /// A description in JSON.
    State,
    /// Factors of the scales, where the scales are codes themselves.
    NestedScales,
    /// The value of each code of a scale.
    NestedMap,
    /// Not needed.
    Unused,
}

/// What a model's config.json says of its quantised matrices.
#[derive(Clone, Debug, Default)]
pub struct Quantization {
    /// `quantization_config`.
    config: Option<Arc<Value>>,
    /// Whether matrices are in [`own_grid`] or [`levels`].
    own_grid: bool,
}

impl Quantization {
    /// Reads `quantization_config`; `own_grid` says whether we saved the model. The error says what
    /// cannot be read, and what to do.
    pub fn read(config: Option<&Value>, own_grid: bool) -> Result<Self, String> {
        if let (Some(config), false) = (config, own_grid) {
            let method = config.get("quant_method").and_then(Value::as_str);
            let known = |library: &&&Library| method.is_none() || library.method == method;
            let mut libraries = LIBRARIES.iter().filter(known).peekable();
            if let (None, Some(method)) = (libraries.peek(), method) {
                let methods: Vec<_> = LIBRARIES.iter().filter_map(|one| one.method).collect();
                return Err(format!(
                    "the weights are quantised with {method}, which cannot be read; use a checkpoint in 16 bits or one of {}",
                    methods.join(", ")
                ));
            }
            libraries
                .filter_map(|library| library.check)
                .try_for_each(|check| check(config))?;
        }
        Ok(Self {
            config: config.cloned().map(Arc::new),
            own_grid,
        })
    }

    /// A text field of `quantization_config`.
    fn text(&self, field: &str) -> Option<&str> {
        self.config.as_ref()?.get(field)?.as_str()
    }
}

/// Errors in the common build, which reads none of the libraries' layouts.
pub fn need_libraries() -> Result<()> {
    full::need("what reads weights that other libraries have quantised")
}

/// Errors in the common build if a file has tensors of a quantised matrix that only the full build
/// reads.
pub fn check_names(quantization: &Quantization, tensors: &[TensorInfo]) -> Result<()> {
    let is_scales = |tensor: &TensorInfo| SCALES.iter().any(|ending| tensor.name.ends_with(ending));
    if IS_FULL || quantization.own_grid || !tensors.iter().any(is_scales) {
        return Ok(());
    }
    need_libraries()
}

/// Checks that a text field of `quantization_config`, where it is given, is one of `values`.
fn one_of(config: &Value, field: &str, values: &[&str]) -> Result<(), String> {
    let is_known = |text: &str| values.iter().any(|one| one.eq_ignore_ascii_case(text));
    match config.get(field) {
        None | Some(Value::Null) => Ok(()),
        Some(value) if value.as_str().is_some_and(is_known) => Ok(()),
        Some(value) => Err(format!(
            "quantization_config has {field} {value}, which cannot be read; use a checkpoint in 16 bits or with {field} {}",
            values.join(" or ")
        )),
    }
}

/// The tensors of one matrix in a checkpoint.
pub struct Found<T> {
    /// The layouts that have these tensors, with their libraries; the shape of the codes tells them
    /// apart.
    candidates: Vec<(&'static Library, &'static Layout)>,
    /// The role of each tensor, and where [`find`]'s caller has it.
    pub components: Vec<(Role, T)>,
}

/// Finds the tensors of the matrix that is called `name` where it is not quantised. `at` returns
/// the place of a tensor, if the checkpoint has it.
pub fn find<T>(
    name: &str,
    quantization: &Quantization,
    at: impl Fn(&str) -> Option<T>,
) -> Option<Found<T>> {
    let module = name.strip_suffix(".weight")?;
    let libraries: &[&Library] = if quantization.own_grid {
        &OWN
    } else {
        LIBRARIES
    };
    let layouts = libraries
        .iter()
        .flat_map(|library| library.layouts.iter().map(|layout| (*library, layout)));
    let mut candidates: Vec<(&Library, &Layout)> = Vec::new();
    let (mut names, mut components) = (Vec::new(), Vec::new());
    'layouts: for (library, layout) in layouts {
        let (mut own_names, mut own) = (Vec::new(), Vec::new());
        for (suffix, role, needed) in layout.tensors {
            match at(&format!("{module}{suffix}")) {
                Some(place) => {
                    own_names.push(*suffix);
                    own.push((*role, place));
                }
                None if *needed => continue 'layouts,
                None => {}
            }
        }
        if candidates.is_empty() {
            (names, components) = (own_names, own);
        } else if own_names != names {
            continue;
        }
        candidates.push((library, layout));
    }
    (!candidates.is_empty()).then_some(Found {
        candidates,
        components,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_build_recognises_every_layout_by_its_scales() {
        for library in LIBRARIES {
            for layout in library.layouts {
                let is_known = layout.tensors.iter().any(|(ending, _, needed)| {
                    *needed && SCALES.iter().any(|scales| ending.ends_with(scales))
                });
                assert!(is_known, "{}: {:?}", library.name, layout.tensors);
            }
        }
    }
}
