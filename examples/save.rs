//! A model in 8 bits, which loads without being quantised again:
//! `cargo run --release --example save -- FROM TO`

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use gossamer::{Cpu, LoadOptions, Loader, WeightDtype};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: save FROM TO";
    let from = arguments.next().ok_or(usage)?;
    let to = PathBuf::from(arguments.next().ok_or(usage)?);

    let options = LoadOptions {
        model: from.clone(),
        dtype: Some(WeightDtype::Q8),
        // Keeps tokenizer.json and the other small files.
        saveable: true,
        ..LoadOptions::default()
    };
    let embedder = Loader::new(Cpu::new(), options).read_dir(from.as_ref())?;
    for file in embedder.save(None)? {
        let path = to.join(&file.path);
        fs::create_dir_all(path.parent().ok_or("a file has no folder")?)?;
        let mut out = File::create_new(path)?;
        // Bytes are made when they are asked for: a large model is never in memory twice.
        let mut buffer = vec![0; 1 << 20];
        let mut offset = 0;
        while offset < file.size {
            let read = embedder.read_saved(&file, offset, &mut buffer)?;
            out.write_all(&buffer[..read])?;
            offset += read as u64;
        }
        println!("{} ({} bytes)", file.path, file.size);
    }
    Ok(())
}
