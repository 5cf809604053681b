//! Models of the Hugging Face Hub, or of a mirror with the same paths. Files are kept in the cache
//! folder of Python's `huggingface_hub`.
//!
//! The commit of the branch is looked up once, and all files are of that commit. The size and the
//! hash of a file are checked before it is used, also if it is in the cache.

mod client;
mod folder;
mod listing;
mod settings;

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use gossamer::Listed;
use indicatif::ProgressBar;
use url::Url;

use self::client::{Client, Failure, TRIES, shown};
use self::folder::Folder;
use self::listing::{Hash, Known, LARGEST, Listing};
use self::settings::Settings;
use crate::source::list_folder;

/// The most bytes of a listing.
const LARGEST_LISTING: u64 = 64 << 20;

/// A model at a commit.
pub struct Repository {
    id: String,
    revision: String,
    commit: String,
    /// `None`: there is no cache.
    folder: Option<Folder>,
    /// `None`: only the cache is used.
    online: Option<Online>,
}

/// How the Hub is accessed.
struct Online {
    client: Client,
    /// `None`: the mirror lists no files, so each is requested without knowing whether it exists.
    listing: Option<Listing>,
}

impl Repository {
    /// Finds a model by `owner/name` or `owner/name@revision`. `sign` is a file that the model must
    /// have.
    pub fn find(source: &str, sign: &str) -> Result<Self> {
        let (id, revision) = source.split_once('@').unwrap_or((source, "main"));
        ensure!(
            listing::is_model(id),
            "{source} is neither a folder nor a model's name on the Hub (owner/name)"
        );
        ensure!(
            listing::is_revision(revision),
            "{source}: {revision:?} is no revision; it must be the name of a branch or tag, or a commit"
        );
        let settings = Settings::of_process()?;
        let folder = settings.cache.as_ref().map(|cache| Folder::new(cache, id));
        if folder.is_none() && !settings.offline {
            eprintln!(
                "gossamer: there is no home folder, so {id} is downloaded and not kept: set HF_HOME to a folder"
            );
        }
        let away = |commit: String, folder| Self {
            id: id.to_owned(),
            revision: revision.to_owned(),
            commit,
            folder,
            online: None,
        };
        let cached = || {
            let folder = folder.as_ref()?;
            let is_commit = listing::is_hash(revision);
            let commit = if is_commit {
                Some(revision.to_ascii_lowercase())
            } else {
                folder.commit(revision)
            };
            commit.filter(|commit| matches!(folder.open(commit, sign), Ok(Some(_))))
        };
        if settings.offline {
            let commit = cached().with_context(|| {
                format!(
                    "{source} is not in the cache, and HF_HUB_OFFLINE is set: load it once without"
                )
            })?;
            return Ok(away(commit, folder));
        }
        let client = Client::new(&settings)?;
        let (commit, listing) = match look_up(&client, id, revision, sign) {
            Ok(found) => found,
            Err(error) => {
                // A model that was loaded before can be loaded without a network.
                if broke_off(&error)
                    && let Some(commit) = cached()
                {
                    eprintln!(
                        "gossamer: {error:#}; taking {source} from the cache, commit {commit}"
                    );
                    return Ok(away(commit, folder));
                }
                return Err(error).with_context(|| {
                    format!("the Hub has no model {source} for us: check its name, the network, and HF_TOKEN if it is gated")
                });
            }
        };
        Ok(Self {
            online: Some(Online { client, listing }),
            ..away(commit, folder)
        })
    }

    /// Returns the commit of all files.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// Writes the commit of the branch to the cache, so that the model can be loaded without a
    /// network.
    pub fn note(&self) {
        if let (Some(folder), Some(_)) = (&self.folder, &self.online)
            && self.revision != self.commit
        {
            // If the folder is not writable, `fetch` has already reported that.
            let _ = folder.note(&self.revision, &self.commit);
        }
    }

    /// Lists the files of the commit, as far as they are known: without a network those of the
    /// cache. A mirror that lists nothing gives none.
    pub fn list(&self) -> Result<Vec<Listed>> {
        match (&self.online, &self.folder) {
            (Some(online), _) => {
                let files = online.listing.iter().flat_map(|listing| &listing.files);
                Ok(files
                    .map(|(name, known)| (name.clone(), known.size))
                    .collect())
            }
            (None, Some(folder)) => list_folder(&folder.commit_folder(&self.commit)),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Opens a file after checking it; `None` if the model has no file of that name.
    pub fn open(&self, name: &str, bar: &ProgressBar) -> Result<Option<File>> {
        ensure!(
            listing::is_path(name),
            "{name:?} is no path within the model"
        );
        let mut known = Known::default();
        if let Some(listing) = self
            .online
            .as_ref()
            .and_then(|online| online.listing.as_ref())
        {
            let Some(listed) = listing.files.get(name) else {
                return Ok(None);
            };
            known.clone_from(listed);
        }
        let kept = match &self.folder {
            Some(folder) => self.kept(folder, name, &known)?,
            None => None,
        };
        match (kept, &self.online) {
            (Some(file), _) => Ok(Some(file)),
            (None, None) => Ok(None),
            (None, Some(online)) => self.fetch(online, name, known, bar),
        }
    }

    /// Opens a file of the cache, if its size and hash are right.
    fn kept(&self, folder: &Folder, name: &str, known: &Known) -> Result<Option<File>> {
        let Some((mut file, named)) = folder.open(&self.commit, name)? else {
            return Ok(None);
        };
        let known = Known {
            size: known.size,
            hash: known.hash.clone().or(named),
        };
        if let Err(wrong) = check(&mut file, name, &known) {
            ensure!(
                self.online.is_some(),
                "the cache's {wrong}; load the model once with a network, which replaces it"
            );
            eprintln!("gossamer: the cache's {wrong}; fetching it again");
            // If it cannot be removed, it is ignored.
            let _ = folder.remove(&self.commit, name);
            return Ok(None);
        }
        Ok(Some(file))
    }

    /// Downloads a file, and keeps it in the cache if possible.
    fn fetch(
        &self,
        online: &Online,
        name: &str,
        mut known: Known,
        bar: &ProgressBar,
    ) -> Result<Option<File>> {
        let mut segments: Vec<&str> = self.id.split('/').collect();
        segments.extend(["resolve", &self.commit]);
        segments.extend(name.split('/'));
        let url = online.client.address(&segments, None);
        if known.hash.is_none() {
            // The headers of the response have the hash.
            let answer = online.client.get(&url, 0)?;
            match answer.status {
                200 | 206 => {
                    self.is_of_commit(&url, answer.commit.as_deref())?;
                    known.hash = answer.etag.as_deref().and_then(hash_of_etag);
                }
                404 if online.listing.is_none() => return Ok(None),
                _ => return Err(failed(&url, answer).into()),
            }
        }
        let download = Download {
            repository: self,
            client: &online.client,
            url,
            name,
            known,
            bar,
        };
        if let Some(folder) = &self.folder {
            match download.kept(folder) {
                Err(Unfinished::Unkept(error)) => {
                    eprintln!("gossamer: {name} cannot be kept in the cache: {error}");
                }
                Err(Unfinished::Failed(error)) => return Err(error),
                Ok(file) => return Ok(Some(file)),
            }
        }
        let mut file = tempfile::tempfile().context("there is no place for a temporary file")?;
        download.fill_and_check(&mut file, 0)?;
        Ok(Some(file))
    }

    /// Errors if the Hub says that a file is of another commit.
    fn is_of_commit(&self, url: &Url, commit: Option<&str>) -> Result<(), Failure> {
        match commit {
            Some(commit) if !commit.eq_ignore_ascii_case(&self.commit) => {
                Err(Failure::Refused(format!(
                    "{} is of commit {commit:?}, and {} was asked for",
                    shown(url),
                    self.commit
                )))
            }
            _ => Ok(()),
        }
    }
}

/// A file that is being downloaded.
struct Download<'a> {
    repository: &'a Repository,
    client: &'a Client,
    url: Url,
    name: &'a str,
    known: Known,
    bar: &'a ProgressBar,
}

/// Why a file is not in the cache.
enum Unfinished {
    /// The folder is not writable.
    Unkept(io::Error),
    /// The download failed.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Unfinished {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Download<'_> {
    /// Downloads the file into the cache, unless another process or another commit has done so
    /// already.
    fn kept(&self, folder: &Folder) -> Result<File, Unfinished> {
        let commit = &self.repository.commit;
        let hash = self.known.hash.as_ref();
        // The lock is released at the end of the function.
        let _lock = hash.and_then(|hash| folder.lock(hash, self.name));
        if let Some(hash) = hash
            && let Ok(Some(mut file)) = folder.open_blob(hash)
            && check(&mut file, self.name, &self.known).is_ok()
        {
            // Without the link, the next load finds it by its hash again.
            let _ = folder.link(commit, self.name, hash);
            return Ok(file);
        }
        let mut partial = folder.partial(hash).map_err(Unfinished::Unkept)?;
        let resumed = partial.size;
        let mut filled = self.fill_and_check(&mut partial.file, resumed);
        if resumed > 0 && filled.as_ref().is_err_and(|error| !broke_off(error)) {
            // The part from an earlier attempt may have been wrong.
            filled = self.fill_and_check(&mut partial.file, 0);
        }
        if let Err(error) = filled {
            // An interrupted download is kept for the next attempt.
            if !broke_off(&error) {
                partial.remove();
            }
            return Err(error.into());
        }
        let hash = match hash {
            Some(hash) => hash,
            None => &folder::hash(&mut partial.file, None)?,
        };
        let file = folder.keep(partial, hash)?;
        folder.link(commit, self.name, hash)?;
        Ok(file)
    }

    /// Downloads the file and checks it. `there` is the number of bytes that it has already.
    fn fill_and_check(&self, file: &mut File, there: u64) -> Result<()> {
        self.fill(file, there)?;
        check(file, self.name, &self.known)
    }

    /// Downloads the file from byte `there` on, and resumes the download if it is interrupted.
    fn fill(&self, file: &mut File, there: u64) -> Result<()> {
        let size = self.known.size;
        // Without a hash, the file could have changed between two requests.
        let resumes = self.known.hash.is_some();
        let most = size.unwrap_or(LARGEST);
        let mut position = if there <= most { there } else { 0 };
        let mut farthest = position;
        let mut tries = 1;
        self.bar.set_message(format!("downloading {}", self.name));
        if let Some(size) = size {
            self.bar.set_length(size);
        }
        while size.is_none_or(|size| position < size) || position == 0 {
            if !resumes {
                position = 0;
            }
            let mut answer = self.client.get(&self.url, position)?;
            match answer.status {
                206 if answer.start() == Some(position) => {}
                // Not every server supports ranges.
                200 => position = 0,
                // The file is shorter than the part from an earlier attempt.
                416 if position > 0 => {
                    position = 0;
                    tries += 1;
                    ensure!(tries <= TRIES, "{} has no such part", shown(&self.url));
                    continue;
                }
                206 => bail!("{} answers with another part", shown(&self.url)),
                _ => return Err(failed(&self.url, answer).into()),
            }
            self.repository
                .is_of_commit(&self.url, answer.commit.as_deref())?;
            if let Some(coding) = answer.header("content-encoding")
                && coding != "identity"
            {
                bail!(
                    "{} is compressed ({coding}), which was not asked for",
                    shown(&self.url)
                );
            }
            file.set_len(position)?;
            file.seek(io::SeekFrom::Start(position))?;
            let broken = self.copy(&mut answer, file, &mut position, most)?;
            if broken.is_none() && size.is_none_or(|size| position == size) {
                return Ok(());
            }
            tries = if position > farthest { 1 } else { tries + 1 };
            farthest = farthest.max(position);
            if tries > TRIES {
                let why = broken.map_or("it ended".to_owned(), |error| error.to_string());
                let size = size.map_or_else(|| "many".to_owned(), |size| size.to_string());
                return Err(Failure::Network(format!(
                    "the download of {} broke off after {position} of {size} bytes: {why}",
                    shown(&self.url)
                ))
                .into());
            }
            std::thread::sleep(client::pause(tries));
        }
        Ok(())
    }

    /// Copies a body. The file may have `most` bytes in all. Returns the error that interrupted it,
    /// if any.
    fn copy(
        &self,
        body: &mut impl Read,
        file: &mut File,
        position: &mut u64,
        most: u64,
    ) -> Result<Option<io::Error>> {
        let mut chunk = vec![0; 1 << 18];
        loop {
            self.bar.set_position(*position);
            let read = match body.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(read) => read,
                Err(error) => return Ok(Some(error)),
            };
            ensure!(
                *position + read as u64 <= most,
                "{} has more than the {most} bytes that it should have",
                shown(&self.url)
            );
            file.write_all(&chunk[..read])
                .with_context(|| format!("{} cannot be written", self.name))?;
            *position += read as u64;
        }
    }
}

/// Looks up the commit of a branch, and the files of that commit.
fn look_up(
    client: &Client,
    id: &str,
    revision: &str,
    sign: &str,
) -> Result<(String, Option<Listing>)> {
    let name = id.split('/');
    let mut segments = vec!["api", "models"];
    segments.extend(name.clone());
    segments.extend(["revision", revision]);
    let url = client.address(&segments, Some("blobs=true"));
    let answer = client.get(&url, 0)?;
    if answer.status == 200 {
        let mut json = Vec::new();
        let read = answer.take(LARGEST_LISTING + 1).read_to_end(&mut json);
        read.map_err(|error| Failure::Network(format!("{} broke off: {error}", shown(&url))))?;
        ensure!(
            json.len() as u64 <= LARGEST_LISTING,
            "the list of the model's files is too long"
        );
        let listing = Listing::parse(&json)
            .with_context(|| format!("{} is no list of a model's files", shown(&url)))?;
        ensure!(
            !listing::is_hash(revision) || listing.commit.eq_ignore_ascii_case(revision),
            "{} is of commit {}, and {revision} was asked for",
            shown(&url),
            listing.commit
        );
        return Ok((listing.commit.clone(), Some(listing)));
    }
    if answer.status != 404 {
        return Err(failed(&url, answer).into());
    }
    // Some mirrors list no files. Then the headers of a file have the commit.
    let unlisted = failed(&url, answer);
    let mut segments: Vec<&str> = name.collect();
    segments.extend(["resolve", revision]);
    segments.extend(sign.split('/'));
    let url = client.address(&segments, None);
    let answer = client.get(&url, 0)?;
    let commit = answer.commit.filter(|_| answer.status == 200);
    match commit {
        Some(commit) if listing::is_hash(&commit) => Ok((commit.to_ascii_lowercase(), None)),
        Some(commit) => Err(anyhow!(
            "{} is of commit {commit:?}, which is none",
            shown(&url)
        )),
        None => Err(unlisted.into()),
    }
}

/// Whether an error interrupted a download that can be resumed.
fn broke_off(error: &Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(Failure::Network(_) | Failure::Status(..))
    )
}

/// The error of a response whose status is no success.
fn failed(url: &Url, answer: client::Answer) -> Failure {
    let status = answer.status;
    Failure::Status(status, format!("{} ({})", answer.reason(), shown(url)))
}

/// Returns the hash in an `ETag` of the Hub. Other servers have tags of other forms.
fn hash_of_etag(etag: &str) -> Option<Hash> {
    let tag = etag.strip_prefix("W/").unwrap_or(etag);
    Hash::parse(tag.trim_matches('"'))
}

/// Errors if a file does not have the known size and hash.
fn check(file: &mut File, name: &str, known: &Known) -> Result<()> {
    let size = file.metadata()?.len();
    if let Some(expected) = known.size {
        ensure!(
            size == expected,
            "{name} has {size} bytes, and should have {expected}: it is damaged"
        );
    }
    if let Some(expected) = &known.hash {
        let found = folder::hash(file, Some(expected))?;
        ensure!(
            found == *expected,
            "{name} has the hash {}, and should have {}: it is damaged",
            found.digits(),
            expected.digits()
        );
    }
    file.rewind()?;
    Ok(())
}
