//! A model in the cache folder of Python's `huggingface_hub`: `blobs` has files by their hashes,
//! `snapshots` has links to them by commit and name, and `refs` has the commits of branches and
//! tags.
//!
//! A download is written to a temporary file until its hash is checked. While its process runs,
//! that holds a lock (`flock`) on the file. So no two processes write to the same file, and a
//! process can resume the download of one that has ended. The lock file that Python uses is locked
//! too, so that a file is downloaded only once. Correctness does not depend on that lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::listing::{Hash, is_hash};

/// The suffix of temporary files. Those of Python and of the npm package have other suffixes.
const INCOMPLETE: &str = ".native.incomplete";
/// The time between two attempts to lock a file.
const LOOK: Duration = Duration::from_millis(100);
/// If the owner of a lock makes no progress for this long, it may be suspended, and the lock is
/// ignored.
const STUCK: Duration = Duration::from_secs(10);

/// The folder of one model.
pub struct Folder {
    path: PathBuf,
    locks: PathBuf,
}

/// A temporary file, which this process has locked.
pub struct Partial {
    pub file: File,
    path: PathBuf,
    /// The number of bytes that it has already.
    pub size: u64,
}

impl Folder {
    /// The folder of the model `id` in a cache.
    pub fn new(cache: &Path, id: &str) -> Self {
        let name = format!("models--{}", id.replace('/', "--"));
        Self {
            path: cache.join(&name),
            locks: cache.join(".locks").join(name),
        }
    }

    /// Returns the commit that a branch or tag had when it was last loaded.
    pub fn commit(&self, revision: &str) -> Option<String> {
        let commit = fs::read_to_string(self.path.join("refs").join(revision)).ok()?;
        let commit = commit.trim();
        is_hash(commit).then(|| commit.to_owned())
    }

    /// Writes the commit of a branch or tag.
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

    /// Opens a file of a commit. Also returns its hash, which is its name in `blobs`.
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

    /// Opens a file by its hash. It may have been downloaded for another commit.
    pub fn open_blob(&self, hash: &Hash) -> io::Result<Option<File>> {
        found(File::open(self.blob(hash)))
    }

    /// Removes a damaged file of a commit, and the file that it links to.
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

    /// Links a name of a commit to a file in `blobs`.
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
                // Python copies too if the file system has no links.
                Err(_) => return fs::copy(self.blob(hash), &path).map(drop),
                Ok(()) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Waits until no other process downloads a file, and locks it. `None`: there are no locks, or
    /// the owner makes no progress.
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

    /// Opens a temporary file: one of an interrupted download that no other process has, or a new
    /// one.
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
        // Without locks, no process takes over the files of others.
        let _ = file.try_lock();
        Ok(Partial {
            file,
            path,
            size: 0,
        })
    }

    /// Moves a complete and checked file to its final name.
    pub fn keep(&self, partial: Partial, hash: &Hash) -> io::Result<File> {
        fs::rename(&partial.path, self.blob(hash))?;
        partial.file.unlock()?;
        Ok(partial.file)
    }

    /// Returns the folder of a commit, which may not exist.
    pub fn commit_folder(&self, commit: &str) -> PathBuf {
        self.path.join("snapshots").join(commit)
    }

    fn snapshot(&self, commit: &str, name: &str) -> PathBuf {
        self.commit_folder(commit).join(name)
    }

    fn blob(&self, hash: &Hash) -> PathBuf {
        self.path.join("blobs").join(hash.digits())
    }

    /// Returns the temporary files of this program for a hash.
    fn incomplete(&self, hash: &Hash) -> Vec<PathBuf> {
        let mut paths = self.all_of(hash);
        paths.retain(|path| path.to_str().is_some_and(|path| path.ends_with(INCOMPLETE)));
        paths
    }

    /// Returns the number of bytes that all processes together have of a file.
    fn arrived(&self, hash: &Hash) -> u64 {
        let paths = self.all_of(hash).into_iter();
        let sizes = paths.filter_map(|path| Some(fs::metadata(path).ok()?.len()));
        sizes.sum()
    }

    /// Returns all files in `blobs` whose names begin with a hash.
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
    /// Opens the temporary file of another process, if that has ended.
    fn take_over(path: PathBuf) -> Option<Self> {
        let is_file = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.ok().filter(|_| is_file)?;
        file.try_lock().ok()?;
        // Before this process got the lock, the owner may have renamed the file to its final name.
        let (ours, named) = (file.metadata().ok()?, fs::symlink_metadata(&path).ok()?);
        ((ours.dev(), ours.ino()) == (named.dev(), named.ino())).then_some(Self {
            size: ours.len(),
            file,
            path,
        })
    }

    /// Removes the file.
    pub fn remove(self) {
        // If that fails, the next download takes the file over.
        let _ = fs::remove_file(self.path);
    }
}

/// Computes the hash of a file: of the same kind as `like`, or SHA-256.
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

/// Creates a temporary file.
fn fresh(folder: &Path, prefix: &str, suffix: &str) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(&format!("{prefix}."))
        .suffix(suffix)
        // Other users may read it too, as far as the umask allows.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
}

/// Turns the error of a missing file into `None`.
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
