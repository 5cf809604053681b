//! The terms of texts in a SPLADE model: `cargo run --release --example sparse -- FOLDER TEXT…`

use std::error::Error;

use gossamer::{Cpu, Input, LoadOptions, Loader, SparseOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: sparse FOLDER TEXT...";
    let folder = arguments.next().ok_or(usage)?;
    let texts: Vec<String> = arguments.collect();

    let options = LoadOptions {
        model: folder.clone(),
        ..LoadOptions::default()
    };
    let embedder = Loader::new(Cpu::new(), options).read_dir(folder.as_ref())?;
    let inputs = texts.iter().cloned().map(Input::Text).collect();
    let wanted = SparseOptions {
        labels: true,
        ..SparseOptions::default()
    };
    for (text, vector) in texts
        .iter()
        .zip(embedder.encode_sparse(inputs, &wanted)?.vectors)
    {
        let labels = vector.labels.unwrap_or_default();
        let mut terms: Vec<_> = vector.values.into_iter().zip(labels).collect();
        terms.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        println!("{text}");
        for (weight, term) in terms.iter().take(10) {
            println!("  {weight:.3} {term}");
        }
    }
    Ok(())
}
