//! Dense vectors of texts, and how alike they are:
//! `cargo run --release --example embed -- FOLDER TEXT…`

use std::error::Error;

use gossamer::{Cpu, EncodeOptions, Input, LoadOptions, Loader};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: embed FOLDER TEXT...";
    let folder = arguments.next().ok_or(usage)?;
    let texts: Vec<String> = arguments.collect();

    let options = LoadOptions {
        model: folder.clone(),
        ..LoadOptions::default()
    };
    let embedder = Loader::new(Cpu::new(), options).read_dir(folder.as_ref())?;
    let inputs = texts.iter().cloned().map(Input::Text).collect();
    let batch = embedder.encode(inputs, &EncodeOptions::default())?;

    // Row by row. They have length 1 if the model says so, and the dot product is then the cosine.
    let vectors: Vec<&[f32]> = batch.data.chunks(embedder.dimensions()).collect();
    for (text, vector) in texts.iter().zip(&vectors) {
        let dot: f32 = vector.iter().zip(vectors[0]).map(|(a, b)| a * b).sum();
        println!("{dot:.4} to the first: {text}");
    }
    Ok(())
}
