//! The command line itself; `tests/js/server/serve.test.mjs` has what the server answers.

use std::process::{Command, Output};

fn gossamer(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gossamer"));
    command.args(args).output().expect("it can be started")
}

#[test]
fn it_says_what_it_can_do() {
    let help = gossamer(&["serve", "--help"]);
    let text = String::from_utf8_lossy(&help.stdout);
    for option in ["--model", "--port", "--api-key", "--cors", "--timeout"] {
        assert!(text.contains(option), "{option}: {text}");
    }
    assert!(help.status.success());
}

#[test]
fn it_quantises_to_a_folder() {
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/tiny-bert");
    let folder = std::env::temp_dir().join(format!("gossamer-quantize-{}", std::process::id()));
    let folder = folder.to_str().expect("a plain name");
    let quantize = |more: &[&str]| {
        let args = ["quantize", tiny, "--dtype", "q8", "-o", folder];
        gossamer(&[&args, more].concat())
    };
    // A tokenizer is one file.
    let output = quantize(&["--shard", "2KB"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("the limit for a file"));
    let output = quantize(&["--shard", "40KiB"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("parameters in q8"),
        "{text}"
    );
    let index = std::path::Path::new(folder).join("model.safetensors.index.json");
    assert!(index.exists());
    // Nothing is written over what is there.
    let output = quantize(&[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is there already"));
    // It is a model.
    let again = format!("{folder}-again");
    let output = gossamer(&["quantize", folder, "--dtype", "q8", "-o", &again]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for folder in [folder, &again] {
        std::fs::remove_dir_all(folder).expect("it was made");
    }
}

#[test]
fn what_is_wrong_is_told_on_stderr() {
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/tiny-bert");
    let gguf = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/gguf");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    for (args, part) in [
        (&["serve"][..], "--model"),
        (
            &["serve", "--model", "/nowhere"],
            "/nowhere is neither a folder",
        ),
        (&["serve", "--model", "/"], "config.json"),
        (
            &["serve", "--model", tiny, "--port", &port],
            "cannot be listened on",
        ),
        // The port comes last: before it, the file has been loaded.
        (
            &[
                "serve",
                "--model",
                gguf,
                "--file",
                "bert-q8_0.gguf",
                "--port",
                &port,
            ],
            "cannot be listened on",
        ),
        (
            &["serve", "--model", gguf, "--file", "none.gguf"],
            "has no none.gguf",
        ),
        (
            &[
                "serve",
                "--model",
                gguf,
                "--model",
                tiny,
                "--file",
                "bert-q8_0.gguf",
            ],
            "a single model",
        ),
        (
            &["serve", "--model", tiny, "--port", "70000"],
            "invalid value",
        ),
    ] {
        let output = gossamer(args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(part), "{args:?}: {text}");
        assert!(!output.status.success());
    }
}
