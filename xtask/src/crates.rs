//! The crates whose code is in the wasm, and the notices that their licences require.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::run::{cargo, output, root, say, target};
use crate::setup;

/// A crate, as cargo knows it.
#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    /// `None` for crates of this repository.
    source: Option<String>,
    manifest_path: PathBuf,
}

/// What the manifest of an npm package says.
#[derive(Deserialize)]
struct Npm {
    version: String,
    license: String,
}

impl Package {
    fn licence(&self) -> &str {
        self.license.as_deref().unwrap_or("see below")
    }

    fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new(""))
    }
}

/// Third-party crates that are compiled into the wasm. Proc-macro crates are left out: their own
/// code is not in it.
fn compiled() -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }

    let metadata = [
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        setup::WASM,
    ];
    let metadata = output(cargo().args(metadata)).context("cargo metadata failed")?;
    let Metadata { packages } = serde_json::from_str(&metadata)?;
    let tree = [
        "tree",
        "--locked",
        "--package",
        "gossamer-embed",
        "--target",
        setup::WASM,
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    let tree = output(cargo().args(tree)).context("cargo tree failed")?;
    let linked: BTreeSet<&str> = tree.lines().filter_map(identity).collect();
    let packages: Vec<_> = packages
        .into_iter()
        .filter(|Package { name, version, .. }| {
            linked.contains(format!("{name} v{version}").as_str())
        })
        .filter(|package| package.source.is_some())
        .collect();
    // Leaves out the crate itself.
    ensure!(
        packages.len() + 1 == linked.len(),
        "cargo tree and cargo metadata disagree about the crates in the wasm"
    );
    Ok(packages)
}

/// Parses `name v1.2.3` from a line of `cargo tree`.
fn identity(line: &str) -> Option<&str> {
    let name = line.find(" v")?;
    let end = line[name + 1..]
        .find(' ')
        .map_or(line.len(), |end| name + 1 + end);
    Some(&line[..end])
}

/// An npm package whose code is in `gossamer-embed/inline`: it unpacks the wasm.
const UNPACKER: &str = "fzstd";

/// The notices that ship with the wasm: each crate's copyright and licence, and those of
/// [`UNPACKER`].
pub fn notices() -> Result<String> {
    let mut text = String::from(
        "The WebAssembly of gossamer-embed contains code of Rust's standard library (https://www.rust-lang.org,\n\
         MIT OR Apache-2.0, as gossamer-embed itself) and of these crates:\n\n",
    );
    // Crates with the same text share one entry.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in compiled()? {
        let Package { name, version, .. } = &package;
        let place = package.repository.as_deref().unwrap_or("crates.io");
        writeln!(text, "{name} {version} ({}), {place}", package.licence())?;
        let mut files = licence_files(package.folder())?;
        // Apache's text names no owner, so it is the same for all crates.
        if files.is_empty() && package.licence().contains("Apache-2.0") {
            files.push(root().join("LICENSE-APACHE"));
        }
        ensure!(
            !files.is_empty(),
            "{name} {version} comes without the text of its licence"
        );
        for file in files {
            let licence = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let licence = licence.trim().replace("\r\n", "\n");
            texts
                .entry(licence)
                .or_default()
                .push(format!("{name} {version}"));
        }
    }
    let folder = root().join("node_modules").join(UNPACKER);
    let manifest: Npm = serde_json::from_slice(&fs::read(folder.join("package.json"))?)?;
    let Npm { version, license } = manifest;
    writeln!(
        text,
        "\ngossamer-embed/inline contains an npm package, too:\n\n{UNPACKER} {version} ({license})"
    )?;
    let licence = fs::read_to_string(folder.join("LICENSE"))?;
    texts
        .entry(licence.trim().replace("\r\n", "\n"))
        .or_default()
        .push(format!("{UNPACKER} {version}"));
    for (licence, crates) in texts {
        write!(
            text,
            "\n{}\n{}:\n\n{licence}\n",
            "-".repeat(80),
            crates.join(", ")
        )?;
    }
    Ok(text)
}

/// Licence files, wherever they are in a crate. MIT is chosen where there is a choice.
fn licence_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if is_licence(&path) {
                files.push(path);
            }
        }
    }
    files.sort();
    if files.iter().any(|file| named(file).contains("MIT")) {
        let others = ["APACHE", "BOOST", "BSD", "COPYING", "UNLICENSE", "ZLIB"];
        files.retain(|file| !others.iter().any(|other| named(file).contains(other)));
    }
    Ok(files)
}

fn is_licence(file: &Path) -> bool {
    let name = named(file);
    ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"]
        .iter()
        .any(|start| name.starts_with(start))
}

fn named(file: &Path) -> String {
    file.file_name()
        .map(|name| name.to_string_lossy().to_uppercase())
        .unwrap_or_default()
}

/// Writes a bill of materials of the wasm, in the format of `CycloneDX`.
pub fn bill_of_materials() -> Result<()> {
    let components: Vec<_> = compiled()?
        .iter()
        .map(|package| {
            let Package { name, version, .. } = package;
            let url = format!("pkg:cargo/{name}@{version}");
            // Old manifests have a slash for OR.
            let licence = package.licence().replace('/', " OR ");
            json!({
                "type": "library",
                "bom-ref": url,
                "name": name,
                "version": version,
                "purl": url,
                "licenses": [{ "expression": licence }],
            })
        })
        .collect();
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(root().join("pkg/package.json"))?)?;
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": "pkg:npm/gossamer-embed",
                "name": "gossamer-embed",
                "version": manifest["version"],
                "licenses": [{ "expression": manifest["license"] }],
            },
        },
        "components": components,
    });
    let file = target().join("sbom/gossamer-embed.cdx.json");
    fs::create_dir_all(target().join("sbom"))?;
    fs::write(&file, serde_json::to_string_pretty(&bill)?)?;
    say(&format!("wrote {}", file.display()));
    Ok(())
}

/// Writes the licences into the package.
pub fn write_licences(package: &Path) -> Result<()> {
    for name in ["LICENSE-APACHE", "LICENSE-MIT"] {
        fs::copy(root().join(name), package.join(name))?;
    }
    fs::write(package.join("THIRD-PARTY-NOTICES.txt"), notices()?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::identity;

    #[test]
    fn crates_are_read_off_cargos_tree() {
        assert_eq!(identity("ahash v0.8.12"), Some("ahash v0.8.12"));
        assert_eq!(identity("serde v1.0.1 (*)"), Some("serde v1.0.1"));
        assert_eq!(
            identity("gossamer-embed v0.1.0 (/somewhere)"),
            Some("gossamer-embed v0.1.0")
        );
        assert_eq!(identity(""), None);
    }
}
