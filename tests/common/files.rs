//! Safetensors files, taken apart and put together.

use serde_json::{Map, Value, json};

/// Name, header entry, bytes.
pub type Tensor = (String, Value, Vec<u8>);

/// A file's tensors.
pub fn tensors(file: &[u8]) -> Vec<Tensor> {
    let (length, rest) = file.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
    let header: Map<String, Value> = serde_json::from_slice(header).unwrap();
    let entries = header
        .into_iter()
        .filter(|(name, _)| name != "__metadata__");
    let bytes = |entry: &Value| {
        let at = |i: usize| usize::try_from(entry["data_offsets"][i].as_u64().unwrap()).unwrap();
        data[at(0)..at(1)].to_vec()
    };
    entries
        .map(|(name, entry)| (name, entry.clone(), bytes(&entry)))
        .collect()
}

/// The file of some tensors.
pub fn file(tensors: &[&Tensor]) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, entry, bytes) in tensors {
        let mut entry = entry.clone();
        entry["data_offsets"] = json!([data.len(), data.len() + bytes.len()]);
        header.insert(name.clone(), entry);
        data.extend_from_slice(bytes);
    }
    let header = Value::Object(header).to_string();
    [
        (header.len() as u64).to_le_bytes().as_slice(),
        header.as_bytes(),
        &data,
    ]
    .concat()
}

/// Index and files of a safetensors file cut into three, tensors dealt out by turns.
pub fn shards(whole: &[u8]) -> (Value, Vec<(String, Vec<u8>)>) {
    let tensors = tensors(whole);
    let name = |at: usize| format!("model-{:05}-of-00003.safetensors", at % 3 + 1);
    let map: Map<String, Value> = tensors
        .iter()
        .enumerate()
        .map(|(at, (tensor, ..))| (tensor.clone(), json!(name(at))))
        .collect();
    let files = (0..3).map(|shard| {
        let own: Vec<_> = tensors.iter().skip(shard).step_by(3).collect();
        (name(shard), file(&own))
    });
    (
        json!({ "metadata": {}, "weight_map": map }),
        files.collect(),
    )
}
