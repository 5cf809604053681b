//! Checks of files as a whole: SHA-256, and Git LFS pointers in place of files.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// How the text begins that Git LFS leaves in place of a large file.
const LFS_POINTER: &[u8] = b"version ";

/// The SHA-256 that files must have, in hexadecimal, by path.
#[derive(Default)]
pub struct Pins(BTreeMap<String, String>);

impl Pins {
    /// Adds a file.
    pub fn insert(&mut self, file: &str, sha256: &str) -> Result<()> {
        let sha256 = sha256.to_lowercase();
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let reason =
                format!("the SHA-256 of {file} is {sha256:?}; it must be 64 hexadecimal digits");
            return Err(Error::input("sha256", reason));
        }
        self.0.insert(file.to_owned(), sha256);
        Ok(())
    }

    /// Checks a file that is here as a whole.
    pub fn check(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let mut arrival = Arrival::new(file, self);
        arrival.update(bytes)?;
        arrival.finish(self)
    }
}

/// A file that arrives in chunks.
pub struct Arrival {
    file: String,
    /// Of the bytes so far, if the file must have a certain hash.
    hash: Option<Sha256>,
    /// The first bytes, as many as a pointer begins with.
    start: Vec<u8>,
}

impl Arrival {
    /// No bytes yet.
    pub fn new(file: &str, pins: &Pins) -> Self {
        Self {
            file: file.to_owned(),
            hash: pins.0.contains_key(file).then(Sha256::new),
            start: Vec::new(),
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) -> Result<()> {
        if self.start.len() < LFS_POINTER.len() {
            let missing = LFS_POINTER.len() - self.start.len();
            self.start.extend(bytes.iter().take(missing));
            if self.start == LFS_POINTER {
                return Err(Error::config(
                    self.file.as_str(),
                    "this is a Git LFS pointer, not the file itself: run `git lfs pull`",
                ));
            }
        }
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        Ok(())
    }

    /// Checks the hash of the whole file.
    pub fn finish(self, pins: &Pins) -> Result<()> {
        let (Some(hash), Some(expected)) = (self.hash, pins.0.get(&self.file)) else {
            return Ok(());
        };
        let got = format!("{:x}", hash.finalize());
        if got == *expected {
            return Ok(());
        }
        Err(Error::WrongHash {
            file: self.file,
            got,
            expected: expected.clone(),
        })
    }
}
