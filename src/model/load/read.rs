//! Loading from files that can be read in this thread, natively.

use std::io::{self, Read};
use std::path::Path;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::load::loader::Loader;
use crate::model::load::step::Step;

/// The largest small file, in bytes. Those of tokenizers have up to 40 MB.
const LARGEST_SMALL: u64 = 512 << 20;

impl<B: Backend> Loader<B> {
    /// Loads everything from a local folder.
    pub fn read_dir(self, folder: &Path) -> Result<Embedder<B>> {
        self.read_files(|name| match std::fs::File::open(folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        })
    }

    /// Loads everything through `open`, which returns `None` for a file that the source does not
    /// have.
    pub fn read_files<R: Read>(
        mut self,
        mut open: impl FnMut(&str) -> io::Result<Option<R>>,
    ) -> Result<Embedder<B>> {
        let mut chunk = vec![0; 1 << 20];
        loop {
            match self.next()? {
                Step::Small(names) => {
                    for name in names {
                        let bytes = open(&name).and_then(|file| file.map(read_small).transpose());
                        self.provide(&name, bytes.map_err(|error| failed(&name, &error))?)?;
                    }
                }
                Step::Stream { file: name, .. } => {
                    match open(&name).map_err(|error| failed(&name, &error))? {
                        None => self.provide(&name, None)?,
                        Some(file) => self.stream(&name, file, &mut chunk)?,
                    }
                }
                Step::Ready => return self.finish(),
            }
        }
    }

    fn stream(&mut self, name: &str, mut file: impl Read, chunk: &mut [u8]) -> Result<()> {
        loop {
            match file.read(chunk).map_err(|error| failed(name, &error))? {
                0 => return self.end(),
                read => self.push(&chunk[..read])?,
            };
        }
    }
}

fn read_small(file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST_SMALL + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_SMALL {
        let reason = format!("it has more than {LARGEST_SMALL} bytes");
        return Err(io::Error::other(reason));
    }
    Ok(bytes)
}

fn failed(name: &str, error: &io::Error) -> Error {
    Error::MissingFile(format!("{name} that can be read ({error})"))
}
