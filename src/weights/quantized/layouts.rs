//! Which tensors make a matrix: the layouts, told by the endings of names.

/// What a tensor is to its matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The matrix in few bits.
    Codes,
    /// Factors.
    Scales,
    /// What is added after the factor.
    Biases,
    /// What is subtracted before it.
    Zeros,
    /// The group of each column.
    Groups,
    /// Values of the sixteen codes.
    Map,
    /// A description in JSON.
    State,
    /// Factors of the scales, which are codes themselves, …
    NestedScales,
    /// … with these values.
    NestedMap,
    /// Nothing that is needed.
    Unused,
}

/// A layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MLX's affine mode
    Mlx,
    /// compressed-tensors' pack-quantized
    Packed,
    /// A value for each element, and scales
    Scaled,
    /// GPTQ, or AWQ: their shapes tell
    Columns,
    /// bitsandbytes' `load_in_8bit`
    BnbInt8,
    /// bitsandbytes' `load_in_4bit`
    BnbTable,
}

type Suffix = (&'static str, Role, bool);

/// bitsandbytes names the state after the table.
const fn bnb_table(state: &'static str) -> [Suffix; 6] {
    [
        (".weight", Role::Codes, true),
        (".weight.absmax", Role::Scales, true),
        (".weight.quant_map", Role::Map, true),
        (state, Role::State, true),
        (".weight.nested_absmax", Role::NestedScales, false),
        (".weight.nested_quant_map", Role::NestedMap, false),
    ]
}

/// Each layout's endings of names, with what each is and whether it must be there; the first is the codes'.
const KINDS: [(Kind, &str, &[Suffix]); 10] = {
    use Role::{Biases, Codes, Groups, Scales, Unused, Zeros};
    [
        (
            Kind::Mlx,
            "MLX",
            &[
                (".weight", Codes, true),
                (".scales", Scales, true),
                (".biases", Biases, false),
            ],
        ),
        (
            Kind::Packed,
            "compressed-tensors",
            &[
                (".weight_packed", Codes, true),
                (".weight_scale", Scales, true),
                (".weight_zero_point", Zeros, false),
                (".weight_g_idx", Groups, false),
                (".weight_shape", Unused, false),
            ],
        ),
        (
            Kind::Scaled,
            "compressed-tensors",
            &[
                (".weight", Codes, true),
                (".weight_scale", Scales, true),
                (".weight_zero_point", Zeros, false),
            ],
        ),
        (
            Kind::Scaled,
            "block-wise FP8",
            &[
                (".weight", Codes, true),
                (".weight_scale_inv", Scales, true),
            ],
        ),
        (
            Kind::Scaled,
            "quanto",
            &[
                (".weight._data", Codes, true),
                (".weight._scale", Scales, true),
            ],
        ),
        (
            Kind::Scaled,
            "torchao",
            &[
                ("._weight_qdata", Codes, true),
                ("._weight_scale", Scales, true),
                ("._weight_zero_point", Zeros, false),
            ],
        ),
        (
            Kind::Columns,
            "GPTQ or AWQ",
            &[
                (".qweight", Codes, true),
                (".scales", Scales, true),
                (".qzeros", Zeros, true),
                (".g_idx", Groups, false),
            ],
        ),
        (
            Kind::BnbInt8,
            "bitsandbytes",
            &[
                (".weight", Codes, true),
                (".SCB", Scales, true),
                (".weight_format", Unused, false),
            ],
        ),
        (
            Kind::BnbTable,
            "bitsandbytes",
            &bnb_table(".weight.quant_state.bitsandbytes__nf4"),
        ),
        (
            Kind::BnbTable,
            "bitsandbytes",
            &bnb_table(".weight.quant_state.bitsandbytes__fp4"),
        ),
    ]
};

/// A matrix that was found in several tensors.
pub struct Found<T> {
    pub(super) kind: Kind,
    pub(super) library: &'static str,
    /// What each is, and where `find`'s caller has it.
    pub parts: Vec<(Role, T)>,
}

/// Finds the tensors of the matrix that is called `name` where it is plain; `at` says where a tensor is, if anywhere.
pub fn find<T>(name: &str, at: impl Fn(&str) -> Option<T>) -> Option<Found<T>> {
    let module = name.strip_suffix(".weight")?;
    KINDS.iter().find_map(|(kind, library, suffixes)| {
        let mut parts = Vec::new();
        for (suffix, role, needed) in *suffixes {
            match at(&format!("{module}{suffix}")) {
                Some(place) => parts.push((*role, place)),
                None if *needed => return None,
                None => {}
            }
        }
        Some(Found {
            kind: *kind,
            library,
            parts,
        })
    })
}
