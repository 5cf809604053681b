//! Edits of a safetensors file that leave it well-formed: a fuzzer that flips bytes of a header
//! seldom gets past the rule that sizes and offsets agree, and what reads quantised layouts comes
//! after that.

use serde_json::{Map, Value, json};

use super::files::{self, Tensor};

const DTYPES: [&str; 14] = [
    "F32", "F16", "BF16", "F64", "F8_E4M3", "F8_E5M2", "I8", "U8", "I32", "U32", "I64", "I16",
    "BOOL", "F4",
];
/// Endings of names in all layouts.
const ENDINGS: [&str; 22] = [
    ".weight",
    ".bias",
    ".scales",
    ".biases",
    ".weight_packed",
    ".weight_scale",
    ".weight_zero_point",
    ".weight_g_idx",
    ".weight_shape",
    ".weight_scale_inv",
    ".weight._data",
    ".weight._scale",
    ".qweight",
    ".qzeros",
    ".g_idx",
    ".SCB",
    ".weight.absmax",
    ".weight.quant_map",
    ".weight.quant_state.bitsandbytes__nf4",
    ".weight.nested_absmax",
    ".weight.nested_quant_map",
    ".gamma",
];
const SIZES: [u64; 16] = [
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    12,
    16,
    24,
    32,
    64,
    96,
    1 << 20,
    1 << 45,
];
/// Bytes that a tensor is given at most; what its shape says beyond them is said and not there.
const MOST: u64 = 1 << 16;

/// The file after the edits that `input` spells, four bytes each: what, of which tensor, and two
/// arguments.
pub fn apply(file: &[u8], input: &[u8]) -> Vec<u8> {
    let mut tensors = files::tensors(file);
    for [what, tensor, a, b] in input.as_chunks::<4>().0.iter().take(64) {
        if tensors.is_empty() {
            break;
        }
        let at = usize::from(*tensor) % tensors.len();
        let (a, b) = (usize::from(*a), usize::from(*b));
        let (name, entry, bytes) = &mut tensors[at];
        let shape = entry["shape"].as_array_mut().expect("it was read before");
        match what % 12 {
            0 => entry["dtype"] = json!(DTYPES[a % DTYPES.len()]),
            1 => {
                if let Some(size) = shape.get_mut(a & 3) {
                    *size = json!(SIZES[b % SIZES.len()]);
                }
            }
            2 => shape.push(json!(SIZES[a % SIZES.len()])),
            3 => drop(shape.pop()),
            4 => drop(tensors.remove(at)),
            5 => {
                let other = a % tensors.len();
                tensors.swap(at, other);
            }
            6 => *name = ending(name, ENDINGS[a % ENDINGS.len()]),
            7 => {
                let mut copy = tensors[at].clone();
                copy.0 = ending(&copy.0, ENDINGS[a % ENDINGS.len()]);
                tensors.insert(b % tensors.len(), copy);
            }
            8 => {
                // A name's tensor under the name of another.
                let other = tensors[a % tensors.len()].0.clone();
                tensors[at].0 = other;
            }
            9 => {
                let place = a * bytes.len() / 256;
                let end = bytes.len().min(place + 4);
                bytes[place..end].fill(b.to_le_bytes()[0]);
            }
            10 => bytes.fill(b.to_le_bytes()[0]),
            _ => {
                let place = a % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = b.to_le_bytes()[0];
                }
            }
        }
    }
    write(&tensors)
}

/// `name` with another ending.
fn ending(name: &str, new: &str) -> String {
    let mut endings = ENDINGS.to_vec();
    endings.sort_by_key(|ending| std::cmp::Reverse(ending.len()));
    let start = endings.iter().find_map(|old| name.strip_suffix(old));
    format!("{}{new}", start.unwrap_or(name))
}

/// The file of these tensors, each of the size that its dtype and shape say.
fn write(tensors: &[Tensor]) -> Vec<u8> {
    let (mut header, mut data, mut end) = (Map::<String, Value>::new(), Vec::new(), 0u64);
    let mut whole = true;
    for (name, entry, bytes) in tensors {
        if header.contains_key(name) {
            continue;
        }
        let sizes = entry["shape"].as_array().into_iter().flatten();
        let count = sizes
            .filter_map(Value::as_u64)
            .try_fold(1u64, u64::checked_mul);
        let bits = match entry["dtype"].as_str().unwrap_or_default() {
            "F64" | "I64" => 64,
            "F32" | "I32" | "U32" => 32,
            "F16" | "BF16" | "I16" => 16,
            "F4" => 4,
            _ => 8,
        };
        let size = count
            .and_then(|count| count.checked_mul(bits))
            .unwrap_or(0)
            .div_ceil(8);
        let mut entry = entry.clone();
        entry["data_offsets"] = json!([end, end + size]);
        header.insert(name.clone(), entry);
        end += size;
        if whole {
            let length = usize::try_from(size.min(MOST)).unwrap_or_default();
            data.extend(
                bytes
                    .iter()
                    .copied()
                    .chain(std::iter::repeat(0))
                    .take(length),
            );
        }
        whole &= size <= MOST;
    }
    let header = Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    [length.as_slice(), header.as_bytes(), &data].concat()
}
