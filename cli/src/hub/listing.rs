//! The Hub's list of a model's files. It is checked before it is used: hashes are hexadecimal
//! digits, names are paths within the model's folder, sizes are bounded.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// The most bytes of one file.
pub const LARGEST: u64 = 1 << 40;

/// The hash by which the Hub knows a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hash {
    /// The SHA-256 of a file that is stored outside Git (LFS, Xet).
    Sha256(String),
    /// The hash of Git: the SHA-1 of `blob`, the size and the bytes.
    Git(String),
}

impl Hash {
    /// Reads hexadecimal digits. 64 of them are a SHA-256, 40 are a hash of Git.
    pub fn parse(text: &str) -> Option<Self> {
        is_hash(text).then(|| {
            let digits = text.to_ascii_lowercase();
            if digits.len() == 64 {
                Self::Sha256(digits)
            } else {
                Self::Git(digits)
            }
        })
    }

    /// Returns the digits, which are the name of the file in the cache.
    pub fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::Git(digits) => digits,
        }
    }
}

/// Whether a text is a commit or a hash: 40 or 64 hexadecimal digits.
pub fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a name is a path that stays within its folder.
pub fn is_path(name: &str) -> bool {
    !name.contains(['\\', ':'])
        && !name.contains(char::is_control)
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Whether a text can be the name of a branch or tag: Git's rules (`git check-ref-format`).
pub fn is_revision(name: &str) -> bool {
    let forbidden = |letter: char| letter.is_control() || " ~^:?*[\\".contains(letter);
    let is_part = |part: &str| {
        let is_lock = std::path::Path::new(part)
            .extension()
            .is_some_and(|extension| extension == "lock");
        !part.is_empty() && !part.starts_with('.') && !part.contains("..") && !is_lock
    };
    !name.contains(forbidden) && !name.contains("@{") && name.split('/').all(is_part)
}

/// Whether a text can be the name of a model: `name` or `owner/name` (the Hub's rules).
pub fn is_model(id: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_part = |part: &str| {
        !part.is_empty() && !part.starts_with(['.', '-']) && part.bytes().all(is_letter)
    };
    id.len() <= 200
        && !id.contains("..")
        && !id.contains("--")
        && id.split('/').count() <= 2
        && id.split('/').all(is_part)
}

/// What is known of a file before it is downloaded.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub size: Option<u64>,
    pub hash: Option<Hash>,
}

/// The files of one commit.
#[derive(Debug)]
pub struct Listing {
    pub commit: String,
    pub files: HashMap<String, Known>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// Reads the answer to `/api/models/…/revision/…?blobs=true`.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let Answer { sha, siblings } = serde_json::from_slice(json)?;
        ensure!(
            is_hash(&sha),
            "its commit is {sha:?}; it must be 40 or 64 hexadecimal digits"
        );
        let mut files = HashMap::with_capacity(siblings.len());
        for sibling in siblings {
            // Git allows such names, but no model needs such a file.
            if sibling.rfilename.contains(['\\', ':']) && !sibling.rfilename.contains("..") {
                continue;
            }
            let name = sibling.rfilename.clone();
            let known = sibling
                .known()
                .with_context(|| format!("its entry for {name:?} is wrong"))?;
            files.insert(name, known);
        }
        Ok(Self {
            commit: sha.to_ascii_lowercase(),
            files,
        })
    }
}

impl Sibling {
    fn known(self) -> Result<Known> {
        ensure!(
            is_path(&self.rfilename),
            "the name is no path within the model"
        );
        let lfs_size = self.lfs.as_ref().and_then(|lfs| lfs.size);
        let size = match (self.size, lfs_size) {
            (Some(size), Some(other)) if size != other => bail!("it has two sizes"),
            (size, other) => size.or(other),
        };
        ensure!(
            size.is_none_or(|size| size <= LARGEST),
            "a size of {} bytes is too large",
            size.unwrap_or_default()
        );
        let digits = |field: &str, value: Option<String>, lengths: &[usize]| match value {
            Some(text) if !(is_hash(&text) && lengths.contains(&text.len())) => {
                bail!("{field} is {text:?}; it must be {lengths:?} hexadecimal digits")
            }
            value => Ok(value),
        };
        let blob = digits("blobId", self.blob_id, &[40, 64])?;
        let hash = match self.lfs {
            // Git only stores a pointer to such a file; the hash of the pointer is of no use.
            Some(lfs) => digits("lfs.sha256", lfs.sha256, &[64])?,
            None => blob.filter(|blob| blob.len() == 40),
        };
        Ok(Known {
            size,
            hash: hash.as_deref().and_then(Hash::parse),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";

    #[test]
    fn listings_are_checked() {
        let sha256 = "a".repeat(64);
        let entry = |entry: &str| format!(r#"{{"sha":"{COMMIT}","siblings":[{entry}]}}"#);
        let listing = entry(&format!(
            r#"{{"rfilename":"a/model.safetensors","size":5,"blobId":"{COMMIT}","lfs":{{"sha256":"{sha256}","size":5,"pointerSize":1}}}},
               {{"rfilename":"config.json","blobId":"{COMMIT}","lfs":null}},{{"rfilename":"a\\b"}}"#
        ));
        let listing = Listing::parse(listing.as_bytes()).expect("it is right");
        assert_eq!((listing.commit.as_str(), listing.files.len()), (COMMIT, 2));
        assert_eq!(
            listing.files["a/model.safetensors"].hash,
            Some(Hash::Sha256(sha256))
        );
        assert_eq!(
            listing.files["config.json"].hash,
            Some(Hash::Git(COMMIT.to_owned()))
        );
        for (wrong, part) in [
            ("[]".to_owned(), "invalid"),
            ("<html>".to_owned(), "expected value"),
            (r#"{"siblings":[]}"#.to_owned(), "sha"),
            (r#"{"sha":"../../x","siblings":[]}"#.to_owned(), "commit"),
            (r#"{"sha":"c0ffee","siblings":[]}"#.to_owned(), "commit"),
            (entry(r#"{"rfilename":"../x"}"#), "path"),
            (entry(r#"{"rfilename":"/etc/x"}"#), "path"),
            (entry(r#"{"rfilename":"a//x"}"#), "path"),
            (entry(r#"{"rfilename":"a/../../x"}"#), "path"),
            (entry(r#"{"rfilename":"..\\x"}"#), "path"),
            (entry(r#"{"rfilename":""}"#), "path"),
            (entry(r#"{"rfilename":"a\u0000b"}"#), "path"),
            (entry(r#"{"rfilename":5}"#), "invalid type"),
            (entry("null"), "invalid type"),
            (entry(r#"{"rfilename":"x","size":-5}"#), "-5"),
            (entry(r#"{"rfilename":"x","size":"x"}"#), "invalid type"),
            (entry(r#"{"rfilename":"x","size":1.5}"#), "1.5"),
            (
                entry(r#"{"rfilename":"x","size":1000000000000000}"#),
                "too large",
            ),
            (entry(r#"{"rfilename":"x","size":1e15}"#), "invalid type"),
            (
                entry(r#"{"rfilename":"x","blobId":"../../../../PWNED/x"}"#),
                "blobId",
            ),
            (
                entry(r#"{"rfilename":"x","lfs":{"sha256":"../../../../PWNED/x"}}"#),
                "lfs.sha256",
            ),
            (
                entry(&format!(
                    r#"{{"rfilename":"x","lfs":{{"sha256":"{COMMIT}"}}}}"#
                )),
                "lfs.sha256",
            ),
            (
                entry(r#"{"rfilename":"x","size":1,"lfs":{"size":2}}"#),
                "two sizes",
            ),
        ] {
            let error = Listing::parse(wrong.as_bytes()).expect_err(&wrong);
            let error = format!("{error:#}");
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }

    #[test]
    fn revisions_and_models_are_checked() {
        for right in ["main", "refs/pr/1", "v1.0", COMMIT, "feature/x-y_z", "a@b"] {
            assert!(is_revision(right), "{right}");
        }
        for wrong in [
            "", "../../x", "..", ".", "a/../b", "/a", "a/", "a//b", "a\\b", "a b", "a\nb", ".a",
            "a.lock", "a/.b", "a:b", "@{1}",
        ] {
            assert!(!is_revision(wrong), "{wrong:?}");
        }
        for right in ["org/name", "gpt2", "BAAI/bge-m3", "a/b.c_d"] {
            assert!(is_model(right), "{right}");
        }
        for wrong in [
            "", "a/b/c", "../a", "a/..", "/a", "a/", "./a", "a b/c", "a--b/c", "a/b?c", "a/é",
        ] {
            assert!(!is_model(wrong), "{wrong:?}");
        }
    }
}
