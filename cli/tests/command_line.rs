//! The command line. `tests/js/server/serve.test.mjs` tests the responses of the server.

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
    // tokenizer.json is larger, and a file cannot be divided.
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
    // Existing folders are not overwritten.
    let output = quantize(&[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is there already"));
    // The written folder can be loaded as a model.
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
fn what_is_stated_is_saved() {
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/tiny-bert");
    let folder = std::env::temp_dir().join(format!("gossamer-stated-{}", std::process::id()));
    let output = folder.to_str().expect("a plain name");
    let options = [
        "quantize",
        tiny,
        "--dtype",
        "q8",
        "--pooling",
        "cls,mean",
        "--normalize=false",
        "--prompt",
        "query=find: ",
        "--max-tokens",
        "16",
        "-o",
        output,
    ];
    let run = gossamer(&options);
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("it was written");
    assert!(read("1_Pooling/config.json").contains(r#""pooling_mode":["cls","mean"]"#));
    assert!(!read("modules.json").contains("Normalize"));
    assert!(read("config_sentence_transformers.json").contains(r#"{"query":"find: "}"#));
    assert!(read("sentence_bert_config.json").contains(r#""max_seq_length":16"#));
    std::fs::remove_dir_all(&folder).expect("it was made");
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
            &["serve", "--port", "0", "--model", "/nowhere"],
            "/nowhere is neither a folder",
        ),
        (&["serve", "--port", "0", "--model", "/"], "config.json"),
        (
            &["serve", "--model", "/nowhere", "--port", &port],
            "cannot be listened on",
        ),
        (
            &[
                "serve",
                "--port",
                "0",
                "--model",
                gguf,
                "--file",
                "none.gguf",
            ],
            "has no none.gguf",
        ),
        (
            &[
                "serve",
                "--port",
                "0",
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

/// `quantize` leaves existing files and folders as they are, also if it fails.
#[test]
fn quantize_leaves_alone_what_it_did_not_make() {
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/tiny-bert");
    let scratch = tempfile::tempdir().expect("a folder");
    let path = |name: &str| scratch.path().join(name);
    let victim = path("victim");
    std::fs::create_dir(&victim).expect("a folder");
    std::fs::write(victim.join("precious"), "data").expect("a file");
    let precious = || {
        let whole = std::fs::read_to_string(victim.join("precious")).expect("it is there");
        let only = std::fs::read_dir(&victim).expect("it is there").count();
        (whole.as_str(), only) == ("data", 1)
    };
    // A folder and a link with names that a temporary folder might have.
    std::fs::create_dir(path("a.part")).expect("a folder");
    std::fs::write(path("a.part/mine"), "data").expect("a file");
    std::os::unix::fs::symlink(&victim, path("b.part")).expect("a link");
    for name in ["a", "b"] {
        let output = path(name);
        let output = output.to_str().expect("a plain name");
        let result = gossamer(&["quantize", tiny, "--dtype", "q8", "-o", output]);
        let text = String::from_utf8_lossy(&result.stderr);
        assert!(result.status.success(), "{text}");
        assert!(path(name).join("model.safetensors").exists());
    }
    assert!(path("a.part/mine").exists() && precious());
    // A link to nothing exists too.
    std::os::unix::fs::symlink(path("nowhere"), path("c")).expect("a link");
    let output = path("c");
    let output = output.to_str().expect("a plain name");
    let result = gossamer(&["quantize", tiny, "--dtype", "q8", "-o", output]);
    assert!(String::from_utf8_lossy(&result.stderr).contains("is there already"));
    // The folder cannot be created here, and no temporary files are left.
    std::fs::write(path("file"), "data").expect("a file");
    let output = path("file").join("d");
    let output = output.to_str().expect("a plain name");
    let result = gossamer(&["quantize", tiny, "--dtype", "q8", "-o", output]);
    let text = String::from_utf8_lossy(&result.stderr);
    assert!(text.contains("cannot be written"), "{text}");
    let mut left: Vec<_> = std::fs::read_dir(scratch.path())
        .expect("it is there")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a plain name")
        })
        .collect();
    left.sort_unstable();
    assert_eq!(left, ["a", "a.part", "b", "b.part", "c", "file", "victim"]);
}
