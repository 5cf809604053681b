//! compressed-tensors (vLLM, llm-compressor): `pack-quantized`, `int-quantized` and
//! `float-quantized`.

use serde_json::Value;

use super::affine::{
    Affine, code, element_bits, element_decoder, group_index, packed_bits, unpack, words,
};
use super::grid::Grid;
use super::matrix::QuantizedMatrix;
use super::{Layout, Library, Role, RowDecoder};
use crate::error::{Result, zeroed};

/// Its name, which models in our own grid have too.
pub const NAME: &str = "compressed-tensors";

pub static LIBRARY: Library = Library {
    name: NAME,
    method: Some(NAME),
    check: Some(check),
    layouts: &[
        Layout {
            tensors: &[
                (".weight_packed", Role::Codes, true),
                (".weight_scale", Role::Scales, true),
                (".weight_zero_point", Role::Zeros, false),
                (".weight_g_idx", Role::Groups, false),
                (".weight_shape", Role::Unused, false),
            ],
            dtypes: &["I32"],
            bits: packed_bits,
            needs_all_codes: false,
            decoder: packed,
        },
        Layout {
            tensors: &[
                (".weight", Role::Codes, true),
                (".weight_scale", Role::Scales, true),
                (".weight_zero_point", Role::Zeros, false),
            ],
            dtypes: &["I8", "F8_E4M3", "F8_E5M2"],
            bits: element_bits,
            needs_all_codes: false,
            decoder: element_decoder,
        },
    ],
};

/// Refuses weights that are only right for transformed activations.
fn check(config: &Value) -> Result<(), String> {
    let groups = config.get("transform_config").and_then(|transforms| {
        let groups = transforms.get("config_groups")?;
        groups.as_object()
    });
    let places = groups.into_iter().flat_map(serde_json::Map::values);
    let mut places = places
        .filter_map(|group| group.get("apply")?.as_array())
        .flatten();
    // Transforms at these places are already applied to the stored weights.
    let fused = ["weight_input", "weight_output"];
    let online = |place: &Value| {
        let location = place.get("location").and_then(Value::as_str);
        location.is_none_or(|location| !fused.contains(&location))
    };
    if places.any(online) {
        return Err("quantization_config has a transform_config for activations, which only models that Gossamer saved may have; use a checkpoint without it".to_owned());
    }
    Ok(())
}

/// Codes that are packed along a row.
fn packed(matrix: &QuantizedMatrix) -> Result<RowDecoder> {
    let bits = matrix.bits()?;
    let scales = matrix.scales()?;
    let (component, _) = matrix.needed(Role::Scales)?;
    let groups = group_index(matrix, component.shape.get(1).copied())?;
    Ok(RowDecoder::values(Affine {
        unpack: Box::new(move |codes, _, out| unpack(codes, bits, out)),
        zeros: zeros(matrix, bits, &scales)?,
        scales,
        groups,
    }))
}

/// Zero points, which are packed along the columns.
fn zeros(matrix: &QuantizedMatrix, bits: usize, scales: &Grid) -> Result<Option<Grid>> {
    let Some((component, bytes)) = matrix.component(Role::Zeros) else {
        // Symmetric: half of the range is added to each stored code.
        let middle = f32::from(1u8 << (bits - 1));
        return Ok(Grid::new(vec![middle], 1, 1, matrix.rows, matrix.columns));
    };
    let (rows, columns) = (scales.values.len() / scales.columns, scales.columns);
    if component.dtype != "I32" || component.shape != [(rows * bits).div_ceil(32), columns] {
        let shape = &component.shape;
        return Err(matrix.wrong(&format!("its zero points have the shape {shape:?}")));
    }
    let words = words(bytes);
    let mut values = zeroed(rows * columns)?;
    let mut column = Vec::new();
    for at in 0..columns {
        column.clear();
        let own = words.iter().skip(at).step_by(columns);
        own.for_each(|word| column.extend_from_slice(word));
        for row in 0..rows {
            values[row * columns + at] = code(&column, row, bits);
        }
    }
    Ok(Grid::new(
        values,
        rows,
        columns,
        matrix.rows,
        matrix.columns,
    ))
}
