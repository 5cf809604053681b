//! Archives as torch writes them, around pickles of any content.

use super::files::Tensor;

/// The archive of a pickle and its storages. Each entry is followed by its size, as torch writes
/// it.
pub fn archive<'a>(
    pickle: &'a [u8],
    storages: impl IntoIterator<Item = (String, &'a [u8])>,
) -> Vec<u8> {
    let mut file = Vec::new();
    let storages = storages
        .into_iter()
        .map(|(key, bytes)| (format!("x/data/{key}"), bytes));
    for (name, bytes) in std::iter::once(("x/data.pkl".to_owned(), pickle)).chain(storages) {
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        let name_length = u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes();
        // Version, flags (sizes come after the data), method, time, date, checksum, sizes.
        file.extend(b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        file.extend([name_length, [0; 2]].concat());
        file.extend(name.as_bytes());
        file.extend(bytes);
        file.extend([*b"PK\x07\x08", [0; 4], size, size].concat());
    }
    file.extend(b"PK\x01\x02");
    file
}

/// The archive of a pickle and storages that `input` spells: the pickle's length in two bytes, the
/// pickle, and for each storage its key in one byte (`"0"`, `"1"`, …), its length in two, and one
/// byte that it is made of.
pub fn parts(input: &[u8]) -> Vec<u8> {
    let Some(([a, b], rest)) = input.split_first_chunk::<2>() else {
        return Vec::new();
    };
    let length = usize::from(u16::from_le_bytes([*a, *b])).min(rest.len());
    let (pickle, rest) = rest.split_at(length);
    let storages: Vec<(String, Vec<u8>)> = rest
        .as_chunks::<4>()
        .0
        .iter()
        .map(|[key, a, b, fill]| {
            let length = usize::from(u16::from_le_bytes([*a, *b]));
            (key.to_string(), vec![*fill; length])
        })
        .collect();
    archive(
        pickle,
        storages
            .iter()
            .map(|(key, bytes)| (key.clone(), bytes.as_slice())),
    )
}

/// The pickle of a state dict of these tensors (F32, F16 or BF16), each in a storage of its number.
pub fn pickle(tensors: &[Tensor]) -> Vec<u8> {
    let mut out = b"\x80\x02}(".to_vec();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.push(b'X');
        out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let number = |out: &mut Vec<u8>, number: u64| {
        out.push(b'J');
        out.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    };
    for (index, (name, entry, bytes)) in tensors.iter().enumerate() {
        let sizes = entry["shape"].as_array().into_iter().flatten();
        let shape: Vec<u64> = sizes.filter_map(serde_json::Value::as_u64).collect();
        let strides: Vec<u64> = (0..shape.len())
            .map(|at| shape[at + 1..].iter().product())
            .collect();
        text(&mut out, name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        let (class, size) = match entry["dtype"].as_str() {
            Some("F16") => ("Half", 2),
            Some("BF16") => ("BFloat16", 2),
            _ => ("Float", 4),
        };
        out.extend(format!("ctorch\n{class}Storage\n").as_bytes());
        text(&mut out, &index.to_string());
        text(&mut out, "cpu");
        number(&mut out, bytes.len() as u64 / size);
        out.extend(b"tQ");
        number(&mut out, 0);
        for counts in [shape, strides] {
            out.push(b'(');
            counts.iter().for_each(|count| number(&mut out, *count));
            out.push(b't');
        }
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    out.extend(b"u.");
    out
}
