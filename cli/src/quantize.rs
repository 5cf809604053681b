//! `gossamer quantize`: writes a model with quantised weights to a folder.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use gossamer::{Cpu, Embedder, LoadOptions, SavedFile, WeightDtype};

use crate::source;

/// The size of the buffer for copying, in bytes.
const CHUNK: usize = 1 << 20;

/// The arguments of `gossamer quantize`.
#[derive(Args)]
pub struct Options {
    /// ID or ID@REVISION on the Hugging Face Hub, or a folder
    #[arg(value_name = "ID|DIR")]
    model: String,
    #[command(flatten)]
    stated: source::Stated,
    /// Bits of the weights: 8; about 6 in the files, and 8 in memory; or 4 in the feed-forward
    /// blocks
    #[arg(long, value_enum)]
    dtype: Bits,
    /// The most bytes of a file, for platforms that limit it: "24MiB"
    #[arg(long, value_name = "SIZE")]
    shard: Option<ByteSize>,
    /// The folder to create
    #[arg(long, short)]
    output: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Bits {
    Q8,
    Q6,
    Q4,
}

/// Loads, quantises and writes.
pub fn run(options: &Options) -> Result<()> {
    let output = &options.output;
    if fs::symlink_metadata(output).is_ok() {
        bail!(
            "{} is there already: name a folder that is not",
            output.display()
        );
    }
    let dtype = match options.dtype {
        Bits::Q8 => WeightDtype::Q8,
        Bits::Q6 => WeightDtype::Q6,
        Bits::Q4 => WeightDtype::Q4,
    };
    let load = options.stated.add_to(LoadOptions {
        dtype: Some(dtype),
        saveable: true,
        ..LoadOptions::default()
    });
    let embedder = source::load(|| Ok(Cpu::new()), &options.model, load)?;
    let files = embedder.save(options.shard.map(|size| size.as_u64()))?;
    // The files are written to a temporary folder, which is renamed when it is complete, and
    // removed if that fails.
    let parent = output.parent().filter(|parent| *parent != Path::new(""));
    let parent = parent.unwrap_or(Path::new("."));
    let name = output.file_name().context("the output has no name")?;
    let mut prefix = name.to_owned();
    prefix.push(".");
    fs::create_dir_all(parent)
        .and_then(|()| {
            let permissions = fs::Permissions::from_mode(0o777);
            let mut builder = tempfile::Builder::new();
            builder
                .prefix(&prefix)
                .suffix(".part")
                .permissions(permissions);
            builder.tempdir_in(parent)
        })
        .map_err(anyhow::Error::from)
        .and_then(|unfinished| {
            write(&embedder, &files, unfinished.path())?;
            rename_new(unfinished.path(), output)?;
            // The temporary folder no longer exists under its name.
            let _ = unfinished.keep();
            Ok(())
        })
        .with_context(|| format!("{} cannot be written", output.display()))?;
    let size: u64 = files.iter().map(|file| file.size).sum();
    println!(
        "{}: {} files, {}; {} parameters in {}",
        output.display(),
        files.len(),
        ByteSize(size),
        embedder.info().parameters,
        dtype.name()
    );
    Ok(())
}

/// Renames a folder. Errors if something has the new name.
fn rename_new(from: &Path, to: &Path) -> Result<()> {
    // `rename` would replace an empty folder, or a link to one.
    if fs::symlink_metadata(to).is_ok() {
        bail!("it is there by now: name a folder that is not");
    }
    Ok(fs::rename(from, to)?)
}

/// Writes the files of a model to a folder.
fn write(embedder: &Embedder<Cpu>, files: &[SavedFile], folder: &Path) -> Result<()> {
    let bar = source::bar("writing")?;
    bar.set_length(files.iter().map(|file| file.size).sum());
    let mut chunk = vec![0; CHUNK];
    for saved in files {
        let path = folder.join(&saved.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = bar.wrap_write(File::create(path)?);
        let mut offset = 0;
        while offset < saved.size {
            let read = embedder.read_saved(saved, offset, &mut chunk)?;
            file.write_all(&chunk[..read])?;
            offset += read as u64;
        }
        file.flush()?;
    }
    bar.finish_and_clear();
    Ok(())
}
