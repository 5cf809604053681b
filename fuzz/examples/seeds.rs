//! Writes the inputs that fuzzing begins with into corpus/.

use std::path::Path;

use gossamer_fuzz::seeds;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, seeds) in [
        ("safetensors", seeds::safetensors()),
        ("torch", seeds::torch()),
        ("gguf", seeds::gguf()),
        ("onnx", seeds::onnx()),
        ("config", seeds::config()),
        ("index", seeds::index()),
        ("tokenizer", seeds::tokenizer()),
    ] {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        for (name, bytes) in seeds {
            std::fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}
