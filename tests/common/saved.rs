//! Saved models, in memory.

use std::collections::BTreeMap;

use gossamer::{Cpu, Embedder, LoadOptions, Loader, SavedFile, WeightDtype};

/// A saved model's files, by path.
pub type Folder = BTreeMap<String, Vec<u8>>;

/// All files of a model that is being saved, read in pieces of `chunk` bytes.
pub fn saved(embedder: &Embedder<Cpu>, shard: Option<u64>, chunk: usize) -> Folder {
    let files = embedder.save(shard).unwrap();
    let read = |file: &SavedFile| {
        let SavedFile { path, size, .. } = file;
        let (mut bytes, mut piece) = (Vec::new(), vec![0; chunk]);
        loop {
            let read = embedder.read_saved(file, bytes.len() as u64, &mut piece);
            let read = read.unwrap();
            if read == 0 {
                break;
            }
            bytes.extend_from_slice(&piece[..read]);
        }
        assert_eq!(bytes.len() as u64, *size, "{path}");
        (path.clone(), bytes)
    };
    files.iter().map(read).collect()
}

/// Loads them.
pub fn open(folder: &Folder, dtype: Option<WeightDtype>) -> gossamer::Result<Embedder<Cpu>> {
    let options = LoadOptions {
        model: "test".to_owned(),
        dtype,
        saveable: true,
        ..LoadOptions::default()
    };
    let loader = Loader::new(Cpu::new(), options);
    loader.read_files(|name| Ok(folder.get(name).map(Vec::as_slice)))
}
