//! Builds pkg/dist: two wasm builds with the same JavaScript glue, and the TypeScript, bundled by entry.
//!
//! The builds differ by one feature of our own crate. So dependencies are compiled once, and a user downloads one of
//! the two wasm files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

use crate::run::{cargo, command, output, root, run, say, target};
use crate::{crates, setup};

/// File name of each build, and the cargo features that make it.
const BUILDS: [(&str, &[&str]); 2] = [
    ("simd128", &[]),
    ("relaxed", &["--features", "relaxed-simd"]),
];
/// The glue, which is the same for both builds.
const GLUE: [&str; 2] = ["gossamer.js", "gossamer.d.ts"];
/// The wasm features that wasm-opt may use. Never `--all-features`: no engine loads some of them.
const WASM_FEATURES: [&str; 8] = [
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-bulk-memory-opt",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// Builds pkg/dist.
pub fn package() -> Result<()> {
    setup::wasm_target()?;
    setup::npm_packages()?;
    let pkg = root().join("pkg");
    let inputs = inputs()?;
    let glue = BUILDS.map(|(name, features)| wasm(name, features, &inputs));
    let [baseline, relaxed] = glue.map(|folder| folder.and_then(|folder| read_glue(&folder)));
    let baseline = baseline?;
    ensure!(
        baseline == relaxed?,
        "the two wasm builds have different JavaScript glue: something besides the kernels depends on relaxed-simd"
    );

    say("compiling TypeScript");
    let dist = pkg.join("dist");
    // Outputs of sources that were renamed must not be published.
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    let bound = pkg.join("src/wasm");
    for folder in [&bound, &dist.join("wasm")] {
        fs::create_dir_all(folder)?;
    }
    let [code, types] = baseline;
    fs::write(bound.join("gossamer.js"), factory(&code)?)?;
    // rolldown bundles the code; declarations stay one file for each source.
    for folder in [&bound, &dist.join("wasm")] {
        fs::write(folder.join("gossamer.d.ts"), FACTORY_TYPES)?;
        fs::write(folder.join("bindings.d.ts"), &types)?;
    }
    for (name, _) in BUILDS {
        fs::copy(
            optimized(name),
            dist.join("wasm").join(format!("{name}.wasm")),
        )?;
    }
    fs::write(dist.join("wasm/inline.js"), inline()?)?;
    crates::write_licences(&pkg)?;
    run(command(bin("tsc")).args(["-p", "pkg"]))?;
    commonjs_types(&dist)?;
    run(command(bin("rolldown")).args([
        "--config",
        "pkg/rolldown.config.mjs",
        "--log-level",
        "warn",
    ]))
}

/// Copies the declarations into a folder that declares them as `CommonJS`. TypeScript does not let an ES module be
/// required, though Node does.
fn commonjs_types(dist: &Path) -> Result<()> {
    let cjs = dist.join("cjs");
    let mut folders = vec![dist.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(".d.ts") {
                files.push(path);
            }
        }
    }
    for file in files {
        let copy = cjs.join(file.strip_prefix(dist)?);
        fs::create_dir_all(copy.parent().context("a file is in a folder")?)?;
        fs::copy(&file, copy)?;
    }
    fs::write(cjs.join("package.json"), "{ \"type\": \"commonjs\" }\n")?;
    Ok(())
}

/// Compiles one build and makes its glue, unless its inputs are unchanged. Returns the folder of its glue.
fn wasm(name: &str, features: &[&str], inputs: &str) -> Result<PathBuf> {
    let folder = target().join("wasm").join(name);
    let optimized = optimized(name);
    let made_of = folder.join("inputs.sha256");
    if optimized.exists() && fs::read_to_string(&made_of).is_ok_and(|made_of| made_of == inputs) {
        return Ok(folder);
    }
    say(&format!("building wasm ({name})"));
    let build = [
        "build",
        "--quiet",
        "--lib",
        "--release",
        "--package",
        "gossamer-embed",
        "--target",
        setup::WASM,
    ];
    run(cargo().args(build).args(features).args(remapped()?))?;
    let linked = target().join(setup::WASM).join("release/gossamer.wasm");
    fs::create_dir_all(&folder)?;
    Bindgen::new()
        .input_path(&linked)
        .out_name("gossamer")
        .web(true)?
        .omit_default_module_path(true)
        .typescript(true)
        .generate(&folder)
        .context("wasm-bindgen")?;
    say(&format!("optimising wasm ({name})"));
    let mut opt = command(bin("wasm-opt"));
    opt.args(["-Os", "--strip-debug", "--strip-producers"])
        .args(WASM_FEATURES);
    if name == "relaxed" {
        opt.arg("--enable-relaxed-simd");
    }
    run(opt
        .arg(folder.join("gossamer_bg.wasm"))
        .arg("-o")
        .arg(&optimized))?;
    fs::write(made_of, inputs)?;
    Ok(folder)
}

/// Options of cargo that keep the paths of the building machine out of panic messages. They are added to those of
/// `.cargo/config.toml`.
fn remapped() -> Result<[String; 2]> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => std::env::home_dir()
            .context("there is no home folder")?
            .join(".cargo"),
    };
    let mut prefixes = vec![format!("{}=cargo", home.display())];
    // The last remapping that matches wins.
    for registry in fs::read_dir(home.join("registry/src"))? {
        prefixes.push(format!("{}=crates", registry?.path().display()));
    }
    let flags = prefixes
        .iter()
        .map(|prefix| format!("{:?}", format!("--remap-path-prefix={prefix}")));
    let flags = flags.collect::<Vec<_>>().join(", ");
    let config = format!("target.{}.rustflags = [{flags}]", setup::WASM);
    Ok(["--config".to_owned(), config])
}

/// Hash of everything that the wasm is made of. Cargo keeps one copy of a cdylib, so without the hash each of the two
/// builds would be linked again every time.
fn inputs() -> Result<String> {
    let mut files: Vec<PathBuf> = [
        "Cargo.toml",
        "Cargo.lock",
        ".cargo/config.toml",
        "rust-toolchain.toml",
        "xtask/src/build.rs",
    ]
    .map(|name| root().join(name))
    .to_vec();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut hash = Sha256::new();
    hash.update(output(command("rustc").arg("-vV")).context("rustc cannot be started")?);
    for file in files {
        let bytes = fs::read(&file)?;
        // Relative paths: the hash is the same wherever the repository is.
        let name = file.strip_prefix(root())?;
        hash.update(format!("{} {}\n", name.display(), bytes.len()));
        hash.update(bytes);
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// A build before wasm-opt, which still has its function names.
pub fn named(name: &str) -> PathBuf {
    target().join("wasm").join(name).join("gossamer_bg.wasm")
}

/// The build without relaxed SIMD as a JavaScript module, for bundlers that do not copy wasm files.
fn inline() -> Result<String> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&fs::read(optimized("simd128"))?)?;
    let text = BASE64_STANDARD.encode(gzip.finish()?);
    Ok(format!("export default \"{text}\";\n"))
}

fn optimized(name: &str) -> PathBuf {
    target().join("wasm").join(name).join("optimized.wasm")
}

/// The glue without the comments that hold function numbers, which differ between the builds.
fn read_glue(folder: &Path) -> Result<[String; 2]> {
    let [js, types] = GLUE.map(|name| fs::read_to_string(folder.join(name)));
    let js = js?;
    let lines = js.split_inclusive('\n');
    let lines = lines.filter(|line| !line.trim_start().starts_with("// Cast intrinsic"));
    Ok([lines.collect(), types?])
}

/// Type declarations of the module that [`factory`] makes.
const FACTORY_TYPES: &str = "export default function (
  queueMicrotask: (act: () => void) => void,
): typeof import(\"./bindings.js\");
";

/// Turns the glue's module, which has one instance, into a function that makes the bindings of a new instance. The
/// TypeScript needs a second instance after a trap. The function's argument is what the glue calls to poll futures.
fn factory(glue: &str) -> Result<String> {
    let (body, exports) = glue
        .trim_end()
        .rsplit_once("\nexport {")
        .context("wasm-bindgen's glue does not end with its exports")?;
    let start = exports
        .split_once("initSync, ")
        .and_then(|(_, rest)| rest.strip_suffix(" as default };"))
        .context("wasm-bindgen's glue does not export its start function")?;
    let mut names = vec![format!("default: {start}")];
    let mut code = String::from("export default function (queueMicrotask) {\n");
    for line in body.lines() {
        let line = match line.strip_prefix("export ") {
            Some(item) => {
                let name = item
                    .strip_prefix("class ")
                    .or_else(|| item.strip_prefix("function "))
                    .and_then(|name| name.split([' ', '(']).next())
                    .with_context(|| format!("wasm-bindgen's glue has another export: {line}"))?;
                names.push(name.to_owned());
                item
            }
            None => line,
        };
        code.push_str(line);
        code.push('\n');
    }
    Ok(format!("{code}return {{ {} }};\n}}\n", names.join(", ")))
}

/// The path of a program that an npm package installs.
fn bin(name: &str) -> PathBuf {
    root().join("node_modules/.bin").join(name)
}
