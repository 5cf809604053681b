//! Checkpoints that are only listed: `tests/fixtures/synthetic.py` says what their values are.

use serde_json::{Value, json};

/// One tensor: name, shape, mean and spread.
pub type Row = (String, Vec<usize>, f64, f64);

/// A safetensors file of a list `[[name, shape, mean, spread], …]`.
pub fn file(list: &[u8]) -> Vec<u8> {
    let rows: Vec<Row> = serde_json::from_slice(list).expect("a list of tensors");
    let mut bytes = header(&rows);
    for row in &rows {
        for value in values(row) {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
    bytes
}

/// The header of a safetensors file of F32 tensors, with the length before it.
pub fn header(rows: &[Row]) -> Vec<u8> {
    let mut entries = serde_json::Map::<String, Value>::new();
    let mut end = 0;
    for (name, shape, ..) in rows {
        let begin = end;
        end += 4 * shape.iter().product::<usize>();
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, end] });
        entries.insert(name.clone(), entry);
    }
    let header = Value::Object(entries).to_string().into_bytes();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes
}

/// The values of one tensor, row by row.
pub fn values((name, shape, mean, spread): &Row) -> impl Iterator<Item = f32> {
    let seed = name.bytes().fold(0x811c_9dc5_u32, |seed, byte| {
        (seed ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let (mean, spread) = (*mean, *spread);
    let count = u32::try_from(shape.iter().product::<usize>()).expect("a tensor of a test");
    (0..count).map(move |i| {
        let mut x = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9));
        x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
        x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
        x ^= x >> 16;
        #[expect(clippy::cast_possible_truncation, reason = "rounded once, as defined")]
        let value = (mean + spread * (f64::from(x >> 8) / 8_388_608.0 - 1.0)) as f32;
        value
    })
}
