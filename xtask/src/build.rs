//! Builds pkg/dist: four wasm builds with the same JavaScript glue, and the TypeScript, bundled by
//! entry.
//!
//! The builds differ by two features of our own crate. So dependencies are compiled once, and a
//! user downloads one of the four wasm files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

use crate::run::{cargo, command, output, root, run, say, target};
use crate::{crates, setup};

/// A wasm build.
struct Build {
    /// File name, without its extension.
    name: &'static str,
    /// Cargo options that say which features it has.
    features: &'static [&'static str],
    /// Whether it may have relaxed SIMD.
    relaxed: bool,
}

/// The full builds first: the glue is theirs.
const BUILDS: [Build; 4] = [
    Build {
        name: "simd128",
        features: &[],
        relaxed: false,
    },
    Build {
        name: "relaxed",
        features: &["--features", "relaxed-simd"],
        relaxed: true,
    },
    Build {
        name: "common-simd128",
        features: &["--no-default-features"],
        relaxed: false,
    },
    Build {
        name: "common-relaxed",
        features: &["--no-default-features", "--features", "relaxed-simd"],
        relaxed: true,
    },
];
/// The code and the types of the glue.
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
    let mut glue = None;
    for build in &BUILDS {
        glue = Some(wasm(build, &inputs, glue)?);
    }
    let [code, types] = glue.context("there is a build")?;

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
    fs::write(bound.join("gossamer.js"), factory(&code)?)?;
    // rolldown bundles the code; declarations stay one file for each source.
    for folder in [&bound, &dist.join("wasm")] {
        fs::write(folder.join("gossamer.d.ts"), FACTORY_TYPES)?;
        fs::write(folder.join("bindings.d.ts"), &types)?;
    }
    for Build { name, .. } in BUILDS {
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

/// Copies the declarations into a folder that declares them as `CommonJS`. TypeScript does not let
/// an ES module be required, though Node does.
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

/// The code and the types of the glue.
type Glue = [String; 2];

/// Compiles one build and makes its glue, unless its inputs are unchanged. Returns the glue:
/// `shared`, where that is given, to which the build is adapted.
fn wasm(build: &Build, inputs: &str, shared: Option<Glue>) -> Result<Glue> {
    let Build {
        name,
        features,
        relaxed,
    } = build;
    let folder = target().join("wasm").join(name);
    let optimized = optimized(name);
    let made_of = folder.join("inputs.sha256");
    if optimized.exists() && fs::read_to_string(&made_of).is_ok_and(|made_of| made_of == inputs) {
        return shared.map_or_else(|| read_glue(&folder), Ok);
    }
    say(&format!("building wasm ({name})"));
    let options = [
        "build",
        "--quiet",
        "--lib",
        "--release",
        "--package",
        "gossamer-embed",
        "--target",
        setup::WASM,
    ];
    run(cargo().args(options).args(*features).args(remapped()?))?;
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
    let glue = read_glue(&folder)?;
    let shared = shared.unwrap_or_else(|| glue.clone());
    let renamed = fit(&glue[0], &shared[0]).with_context(|| {
        format!(
            "the wasm build {name} cannot use the JavaScript glue of {}",
            BUILDS[0].name
        )
    })?;
    rename(&folder.join("gossamer_bg.wasm"), &renamed)?;
    say(&format!("optimising wasm ({name})"));
    let mut opt = command(bin("wasm-opt"));
    opt.args(["-O3", "--strip-debug", "--strip-producers"])
        .args(WASM_FEATURES);
    if *relaxed {
        opt.arg("--enable-relaxed-simd");
    }
    run(opt
        .arg(folder.join("gossamer_bg.wasm"))
        .arg("-o")
        .arg(&optimized))?;
    fs::write(made_of, inputs)?;
    Ok(shared)
}

/// Makes sure that a build can use the glue of another one: all that its own glue has is in the
/// other. Returns the names of imports that have to be changed in the wasm. wasm-bindgen numbers
/// casts, so the same cast may have another number in a build that has fewer of them.
fn fit(own: &str, shared: &str) -> Result<BTreeMap<String, String>> {
    let (own_imports, own_rest) = imports(own);
    let (shared_imports, shared_rest) = imports(shared);
    let mut renamed = BTreeMap::new();
    for (name, code) in &own_imports {
        if shared_imports.get(name) == Some(code) {
            continue;
        }
        let is_same = |(other, theirs): &(&String, &String)| {
            name.starts_with(CAST) && other.starts_with(CAST) && *theirs == code
        };
        let (other, _) = shared_imports
            .iter()
            .find(is_same)
            .with_context(|| format!("it has no import {name}:\n{code}"))?;
        renamed.insert(name.clone(), other.clone());
    }
    let mut lines = shared_rest.iter();
    for line in own_rest {
        ensure!(
            lines.any(|other| *other == line),
            "it lacks this line, or has it elsewhere: {line}"
        );
    }
    Ok(renamed)
}

/// How the names of casts begin in the imports. A number in 16 digits follows.
const CAST: &str = "__wbindgen_generic_";

/// The imports that the glue gives the wasm, by name, and the glue's other lines.
fn imports(glue: &str) -> (BTreeMap<String, String>, Vec<&str>) {
    let (mut imports, mut rest) = (BTreeMap::new(), Vec::new());
    let mut lines = glue.lines();
    while let Some(line) = lines.next() {
        let name = line
            .strip_prefix("        ")
            .and_then(|line| line.split_once(": function("))
            .map(|(name, _)| name)
            .filter(|name| name.starts_with("__wb"));
        let Some(name) = name else {
            rest.push(line);
            continue;
        };
        let mut code = line[8 + name.len()..].to_owned();
        for line in lines.by_ref() {
            code.push('\n');
            code.push_str(line);
            if line.starts_with("        }") {
                break;
            }
        }
        imports.insert(name.to_owned(), code);
    }
    (imports, rest)
}

/// Renames casts among the imports of a wasm file. All of their names have the same length.
fn rename(path: &Path, names: &BTreeMap<String, String>) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut wasm = fs::read(path)?;
    let mut section = None;
    for payload in wasmparser::Parser::new(0).parse_all(&wasm) {
        if let wasmparser::Payload::ImportSection(imports) = payload? {
            section = Some(imports.range());
        }
    }
    let section = &mut wasm[section.context("the wasm has no imports")?];
    let mut at = 0;
    while let Some(found) = section[at..]
        .windows(CAST.len())
        .position(|part| part == CAST.as_bytes())
    {
        let start = at + found;
        at = start + CAST.len() + 16;
        let name = String::from_utf8_lossy(&section[start..at]).into_owned();
        if let Some(other) = names.get(&name) {
            section[start..at].copy_from_slice(other.as_bytes());
        }
    }
    fs::write(path, wasm)?;
    Ok(())
}

/// Options of cargo that keep the paths of the building machine out of panic messages. They are
/// added to those of `.cargo/config.toml`.
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

/// Hash of everything that the wasm is made of. Cargo keeps one copy of a cdylib, so without the
/// hash each of the builds would be linked again every time.
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

/// The full build without relaxed SIMD as a JavaScript module, for bundlers that do not copy wasm
/// files.
fn inline() -> Result<String> {
    let wasm = fs::read(optimized("simd128"))?;
    // The highest level, which is 17 % smaller than gzip's best.
    let zstd = zstd::bulk::compress(&wasm, 22)?;
    let text = BASE64_STANDARD.encode(zstd);
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

/// Turns the glue's module, which has one instance, into a function that makes the bindings of a
/// new instance. The TypeScript needs a second instance after a trap. The function's argument is
/// what the glue calls to poll futures.
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
