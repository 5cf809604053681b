//! A model in the cache folder that Python's `huggingface_hub` shares: files by their hashes in `blobs`, links to them by
//! commit and name in `snapshots`, the commits of branches and tags in `refs`.
//!
//! A file that arrives has a name of its own until its hash is checked, and a lock (`flock`) that says that its writer
//! lives. So whoever writes does so to a file that nobody else has, and a download that broke off can be taken over. Python's
//! lock on a file is taken as well, so that it is downloaded once; nothing but time depends on it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::listing::{Hash, is_hash};

/// End of the name of a file that is not whole yet. Python and the npm package have names of their own.
const INCOMPLETE: &str = ".native.incomplete";
/// Between looks at a lock.
const LOOK: Duration = Duration::from_millis(100);
/// Without progress of its owner, after which a lock is passed by: the process may be stopped.
const STUCK: Duration = Duration::from_secs(10);

/// The folder of one model.
pub struct Folder {
    path: PathBuf,
    locks: PathBuf,
}

/// A file that is being written, with the lock on it.
pub struct Partial {
    pub file: File,
    path: PathBuf,
    /// Bytes that are there already.
    pub size: u64,
}

impl Folder {
    /// The folder of model `id` in a cache.
    pub fn new(cache: &Path, id: &str) -> Self {
        let name = format!("models--{}", id.replace('/', "--"));
        Self {
            path: cache.join(&name),
            locks: cache.join(".locks").join(name),
        }
    }

    /// The commit that a branch or tag was at.
    pub fn commit(&self, revision: &str) -> Option<String> {
        let commit = fs::read_to_string(self.path.join("refs").join(revision)).ok()?;
        let commit = commit.trim();
        is_hash(commit).then(|| commit.to_owned())
    }

    /// Notes the commit that a branch or tag is at.
    pub fn note(&self, revision: &str, commit: &str) -> io::Result<()> {
        if self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.path.join("refs").join(revision);
        let folder = path.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder)?;
        let mut file = fresh(folder, "ref", INCOMPLETE)?;
        io::Write::write_all(&mut file, commit.as_bytes())?;
        file.persist(&path)?;
        Ok(())
    }

    /// A file of a commit, and the hash that its name in `blobs` says.
    pub fn open(&self, commit: &str, name: &str) -> io::Result<Option<(File, Option<Hash>)>> {
        let path = self.snapshot(commit, name);
        let Some(file) = found(File::open(&path))? else {
            return Ok(None);
        };
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let target = fs::read_link(&path).ok();
        let digits = target.as_deref().and_then(Path::file_name);
        let hash = digits.and_then(|digits| Hash::parse(digits.to_str()?));
        Ok(Some((file, hash)))
    }

    /// A file by its hash, which another commit may have brought.
    pub fn open_blob(&self, hash: &Hash) -> io::Result<Option<File>> {
        found(File::open(self.blob(hash)))
    }

    /// Removes a file of a commit that is not what it should be, and what it links to.
    pub fn remove(&self, commit: &str, name: &str) -> io::Result<()> {
        let path = self.snapshot(commit, name);
        if let Ok(target) = fs::read_link(&path)
            && let Some(digits) = target.file_name()
            && digits.to_str().is_some_and(is_hash)
        {
            found(fs::remove_file(self.path.join("blobs").join(digits)))?;
        }
        found(fs::remove_file(path)).map(drop)
    }

    /// Makes a name of a commit lead to a file in `blobs`.
    pub fn link(&self, commit: &str, name: &str, hash: &Hash) -> io::Result<()> {
        let path = self.snapshot(commit, name);
        fs::create_dir_all(path.parent().unwrap_or(&self.path))?;
        let up = "../".repeat(2 + name.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{}", hash.digits()));
        for _ in 0..2 {
            match symlink(&target, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if fs::read_link(&path).is_ok_and(|other| other == target) {
                        return Ok(());
                    }
                    found(fs::remove_file(&path))?;
                }
                // As Python does where nothing can be linked.
                Err(_) => return fs::copy(self.blob(hash), &path).map(drop),
                Ok(()) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Waits until nobody else downloads a file. `None`: it cannot be known, or its owner does nothing.
    pub fn lock(&self, hash: &Hash, name: &str) -> Option<File> {
        fs::create_dir_all(&self.locks).ok()?;
        let path = self.locks.join(format!("{}.lock", hash.digits()));
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(path);
        let file = file.ok()?;
        let (mut seen, mut since) = (None, Instant::now());
        loop {
            match file.try_lock() {
                Ok(()) => return Some(file),
                Err(TryLockError::Error(_)) => return None,
                Err(TryLockError::WouldBlock) => {}
            }
            let now = Some(self.arrived(hash));
            if seen.is_none() {
                eprintln!("gossamer: waiting for another process, which downloads {name}");
            }
            if seen != now {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() > STUCK {
                eprintln!("gossamer: the other process does nothing: downloading {name} beside it");
                return None;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// A file to write to: one that broke off, if nobody has it, or a new one.
    pub fn partial(&self, hash: Option<&Hash>) -> io::Result<Partial> {
        let blobs = self.path.join("blobs");
        fs::create_dir_all(&blobs)?;
        let left = hash.into_iter().flat_map(|hash| self.incomplete(hash));
        let mut left: Vec<_> = left.filter_map(Partial::take_over).collect();
        left.sort_by_key(|partial| partial.size);
        if let Some(partial) = left.pop() {
            for other in left {
                other.remove();
            }
            return Ok(partial);
        }
        let prefix = hash.map_or("unknown", Hash::digits);
        let (file, path) = fresh(&blobs, prefix, INCOMPLETE)?.keep()?;
        // Where there are no locks, nobody takes files over either.
        let _ = file.try_lock();
        Ok(Partial {
            file,
            path,
            size: 0,
        })
    }

    /// Gives a file that is whole, and has been checked, its name.
    pub fn keep(&self, partial: Partial, hash: &Hash) -> io::Result<File> {
        fs::rename(&partial.path, self.blob(hash))?;
        partial.file.unlock()?;
        Ok(partial.file)
    }

    fn snapshot(&self, commit: &str, name: &str) -> PathBuf {
        self.path.join("snapshots").join(commit).join(name)
    }

    fn blob(&self, hash: &Hash) -> PathBuf {
        self.path.join("blobs").join(hash.digits())
    }

    /// Files of ours that broke off, or are being written.
    fn incomplete(&self, hash: &Hash) -> Vec<PathBuf> {
        let mut paths = self.all_of(hash);
        paths.retain(|path| path.to_str().is_some_and(|path| path.ends_with(INCOMPLETE)));
        paths
    }

    /// Bytes of a file that are there, whoever writes them.
    fn arrived(&self, hash: &Hash) -> u64 {
        let paths = self.all_of(hash).into_iter();
        let sizes = paths.filter_map(|path| Some(fs::metadata(path).ok()?.len()));
        sizes.sum()
    }

    fn all_of(&self, hash: &Hash) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path.join("blobs")) else {
            return Vec::new();
        };
        let names = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let is_of = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(hash.digits()))
        };
        names.filter(is_of).collect()
    }
}

impl Partial {
    /// Opens a file that another has left, if it lives no more.
    fn take_over(path: PathBuf) -> Option<Self> {
        let is_file = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.ok().filter(|_| is_file)?;
        file.try_lock().ok()?;
        // Before the lock was ours, its owner may have given the file its final name.
        let (ours, named) = (file.metadata().ok()?, fs::symlink_metadata(&path).ok()?);
        ((ours.dev(), ours.ino()) == (named.dev(), named.ino())).then_some(Self {
            size: ours.len(),
            file,
            path,
        })
    }

    pub fn remove(self) {
        // It is taken over at the next download, if it is still there.
        let _ = fs::remove_file(self.path);
    }
}

/// The hash of a kind of a whole file.
pub fn hash(file: &mut File, like: Option<&Hash>) -> io::Result<Hash> {
    fn digits<D: Digest>(mut hasher: D, file: &mut File) -> io::Result<String> {
        let mut chunk = vec![0; 1 << 20];
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                read => hasher.update(&chunk[..read]),
            }
        }
        let hash = hasher.finalize();
        let digits = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        Ok(digits
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect())
    }
    file.rewind()?;
    let hash = match like {
        Some(Hash::Git(_)) => {
            let size = file.metadata()?.len();
            Hash::Git(digits(
                Sha1::new_with_prefix(format!("blob {size}\0")),
                file,
            )?)
        }
        _ => Hash::Sha256(digits(Sha256::new(), file)?),
    };
    file.rewind()?;
    Ok(hash)
}

/// A file that nobody has.
fn fresh(folder: &Path, prefix: &str, suffix: &str) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(&format!("{prefix}."))
        .suffix(suffix)
        // For others as well, as far as the user's mask lets them.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
}

/// `None` for what is not there.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        other => other.map(Some),
    }
}
