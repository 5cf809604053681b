//! The tiny models of `tests/fixtures`.

/// Models of all families, heads and roads.
pub const MODELS: [&str; 20] = [
    "tiny-bert",
    "tiny-deberta",
    "tiny-dense",
    "tiny-distilbert-splade",
    "tiny-gemma3",
    "tiny-inference-free",
    "tiny-jina",
    "tiny-m3",
    "tiny-mistral",
    "tiny-modernbert",
    "tiny-modernbert-splade",
    "tiny-mpnet",
    "tiny-mpnet-splade",
    "tiny-nomic",
    "tiny-qwen3",
    "tiny-roberta-splade",
    "tiny-splade",
    "tiny-splade-pair",
    "tiny-t5",
    "tiny-xlm-roberta",
];
