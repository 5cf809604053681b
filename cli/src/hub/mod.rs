//! Models of the Hugging Face Hub, or of a mirror that has its addresses, by way of the cache that Python's
//! `huggingface_hub` shares.
//!
//! The branch is asked for its commit once; all files are then of that commit. What a file is known by, its size and hash, is
//! checked before it is used, in the cache too.

mod client;
mod folder;
mod listing;
mod settings;

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use indicatif::ProgressBar;
use url::Url;

use self::client::{Client, Failure, TRIES, shown};
use self::folder::Folder;
use self::listing::{Hash, Known, LARGEST, Listing};
use self::settings::Settings;

/// The most bytes of a listing.
const LARGEST_LISTING: u64 = 64 << 20;

/// A model at a commit.
pub struct Repository {
    id: String,
    revision: String,
    commit: String,
    /// `None`: models are kept nowhere.
    folder: Option<Folder>,
    /// `None`: the cache has to do.
    online: Option<Online>,
}

struct Online {
    client: Client,
    /// `None`: a mirror that does not list files, which are asked for one by one.
    listing: Option<Listing>,
}

impl Repository {
    /// Finds model `id` (`owner/name`, `owner/name@revision`); `sign` is a file that every model of its kind has.
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
                // What was loaded before needs no network.
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

    /// The commit that all files are of.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// Remembers what has been loaded, for when there is no network.
    pub fn note(&self) {
        if let (Some(folder), Some(_)) = (&self.folder, &self.online)
            && self.revision != self.commit
        {
            // A folder that cannot be written to has been told of, if a file was missing in it.
            let _ = folder.note(&self.revision, &self.commit);
        }
    }

    /// A file, checked; `None` if the model has none of the name.
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

    /// A file of the cache, if it is what it should be.
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
            // If it cannot be removed, it is passed over.
            let _ = folder.remove(&self.commit, name);
            return Ok(None);
        }
        Ok(Some(file))
    }

    /// A file of the Hub, which is kept where that is possible.
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
            // Its answer tells the hash, too.
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

    /// Refuses a file that the Hub says is of another commit.
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

/// A file that is being fetched.
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
    /// The folder cannot be written to.
    Unkept(io::Error),
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Unfinished {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Download<'_> {
    /// Fetches into the cache, if neither another process nor another commit has brought the file.
    fn kept(&self, folder: &Folder) -> Result<File, Unfinished> {
        let commit = &self.repository.commit;
        let hash = self.known.hash.as_ref();
        // It is given back at the end.
        let _lock = hash.and_then(|hash| folder.lock(hash, self.name));
        if let Some(hash) = hash
            && let Ok(Some(mut file)) = folder.open_blob(hash)
            && check(&mut file, self.name, &self.known).is_ok()
        {
            // Without the link it is found by its hash again.
            let _ = folder.link(commit, self.name, hash);
            return Ok(file);
        }
        let mut partial = folder.partial(hash).map_err(Unfinished::Unkept)?;
        let resumed = partial.size;
        let mut filled = self.fill_and_check(&mut partial.file, resumed);
        if resumed > 0 && filled.as_ref().is_err_and(|error| !broke_off(error)) {
            // What was left of another try may have been wrong.
            filled = self.fill_and_check(&mut partial.file, 0);
        }
        if let Err(error) = filled {
            // What broke off is kept for the next try.
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

    fn fill_and_check(&self, file: &mut File, there: u64) -> Result<()> {
        self.fill(file, there)?;
        check(file, self.name, &self.known)
    }

    /// Writes the file, of which the first bytes are there, and goes on where it breaks off.
    fn fill(&self, file: &mut File, there: u64) -> Result<()> {
        let size = self.known.size;
        // A file whose hash is not known could be another one when it is asked for again.
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
                // Not every server has ranges.
                200 => position = 0,
                // There is less than was there.
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

    /// Copies a body, up to `most` bytes in all. The answer is why it broke off, if it did.
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

/// The commit of a branch, and the files that it has.
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
    // Mirrors need not have lists. Each file tells its commit.
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

/// Whether a download may go on where it ended.
fn broke_off(error: &Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(Failure::Network(_) | Failure::Status(..))
    )
}

/// A status that is no success, as an error.
fn failed(url: &Url, answer: client::Answer) -> Failure {
    let status = answer.status;
    Failure::Status(status, format!("{} ({})", answer.reason(), shown(url)))
}

/// The hash that an `ETag` of the Hub is; other servers have other tags.
fn hash_of_etag(etag: &str) -> Option<Hash> {
    let tag = etag.strip_prefix("W/").unwrap_or(etag);
    Hash::parse(tag.trim_matches('"'))
}

/// Refuses a file that has not the size and hash that are known.
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
