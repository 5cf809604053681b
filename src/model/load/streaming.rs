//! The weight files of a model, read one after the other, and the files that may be read instead of
//! one that is absent.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::load::checkpoint::Reading;
use crate::model::load::discovery;
use crate::model::load::plan::Plan;
use crate::model::load::step::{Step, misuse};
use crate::weights::{self, Stream};

/// The stage of loading in which weights are read.
pub struct Streaming<B: Backend> {
    /// The plan that the weights are read by.
    pub plan: Plan<B>,
    /// Number of files that are complete.
    done: usize,
    /// The current file, once bytes of it have arrived.
    reading: Option<Reading>,
    /// What is asked for to get the current file.
    search: Search,
    /// The first file that was asked for in vain since the last file was complete.
    missing: Option<String>,
}

/// What is asked for to get a weight file.
enum Search {
    /// The file itself.
    File,
    /// The index of its shards, as the file is absent.
    Index(String),
}

impl<B: Backend> Streaming<B> {
    /// The weights of a plan, from the first file on.
    pub fn new(plan: Plan<B>) -> Self {
        Self {
            plan,
            done: 0,
            reading: None,
            search: Search::File,
            missing: None,
        }
    }

    /// The weights of a file at `path` that is a whole model, and whose header has been read.
    pub fn resume(mut plan: Plan<B>, path: String, stream: Stream) -> Result<Self> {
        let [(file, streamed)] = plan.streamed.as_mut_slice() else {
            return Err(Error::Internal(
                "a file that is a whole model must be its only weight file".to_owned(),
            ));
        };
        let reading = Reading::resume(*file, &path, stream);
        *streamed = path;
        Ok(Self {
            reading: Some(reading),
            ..Self::new(plan)
        })
    }

    /// What is needed next.
    pub fn next(&self) -> Step {
        match (&self.search, self.plan.streamed.get(self.done)) {
            (_, None) => Step::Ready,
            (Search::Index(index), _) => Step::Small(vec![index.clone()]),
            (Search::File, Some((_, file))) => Step::Stream {
                file: file.clone(),
                files: self.files(),
            },
        }
    }

    /// All weight files, in the order in which they are read.
    fn files(&self) -> Vec<String> {
        let files = self.plan.streamed.iter();
        files.map(|(_, path)| path.clone()).collect()
    }

    /// The weight file whose bytes are to be pushed.
    pub fn due(&self) -> Option<&str> {
        match (&self.search, self.plan.streamed.get(self.done)) {
            (Search::File, Some((_, file))) => Some(file),
            _ => None,
        }
    }

    /// Takes the index of shards, or the information that the source does not have the file that
    /// was asked for.
    pub fn provide(&mut self, name: &str, bytes: Option<&[u8]>) -> Result<()> {
        match (&self.search, bytes) {
            (Search::Index(index), _) if index != name => Err(misuse(name)),
            (Search::Index(index), Some(bytes)) => {
                let shards = discovery::shards(index, bytes)?;
                self.take_shards(shards);
                Ok(())
            }
            (Search::Index(_), None) => self.look_elsewhere(),
            (Search::File, None) if self.reading.is_none() && self.due() == Some(name) => {
                self.absent(name)
            }
            (Search::File, _) => Err(misuse(name)),
        }
    }

    /// The current file is absent: asks for the index of its shards, or for the file to read
    /// instead.
    fn absent(&mut self, path: &str) -> Result<()> {
        self.missing.get_or_insert_with(|| path.to_owned());
        let (file, _) = self.plan.streamed[self.done];
        // Nothing can be read instead of a shard, whatever its name: its index would be the same.
        // Nor can anything be read instead of a file beside an ONNX file.
        let checkpoint = &self.plan.checkpoint;
        if checkpoint.has_shards(file) || checkpoint.goes_on() {
            return Err(self.missing());
        }
        match weights::index(path) {
            Some(index) => {
                self.search = Search::Index(index);
                Ok(())
            }
            None => self.look_elsewhere(),
        }
    }

    /// Asks for the file to read instead of the current one, if there is one.
    fn look_elsewhere(&mut self) -> Result<()> {
        self.search = Search::File;
        let (_, path) = &mut self.plan.streamed[self.done];
        match weights::alternative(path).or_else(|| weights::next(path)) {
            Some(other) => {
                *path = other;
                Ok(())
            }
            None => Err(self.missing()),
        }
    }

    fn missing(&self) -> Error {
        Error::MissingFile(self.missing.clone().unwrap_or_default())
    }

    /// Reads the shards instead of the current file.
    fn take_shards(&mut self, shards: Vec<(String, String)>) {
        let (file, _) = self.plan.streamed[self.done];
        let mut paths: Vec<_> = shards.iter().map(|(_, path)| path.clone()).collect();
        paths.sort_unstable();
        paths.dedup();
        let paths = paths.into_iter().map(|path| (file, path));
        self.plan.streamed.splice(self.done..=self.done, paths);
        self.plan.checkpoint.set_shards(file, shards);
        self.search = Search::File;
        self.missing = None;
    }

    /// Takes the next bytes of the current file. Returns the file's size, once its header has
    /// arrived.
    pub fn push(&mut self, backend: &B, bytes: &[u8]) -> Result<Option<u64>> {
        let (file, path) = &self.plan.streamed[self.done];
        let checkpoint = &mut self.plan.checkpoint;
        let reading = match &mut self.reading {
            Some(reading) => reading,
            empty => empty.insert(checkpoint.begin(*file, path)?),
        };
        checkpoint.push(backend, reading, bytes)?;
        Ok(reading.size())
    }

    /// Ends the current file.
    pub fn end(&mut self) -> Result<()> {
        let (file, path) = &self.plan.streamed[self.done];
        let file = *file;
        let checkpoint = &mut self.plan.checkpoint;
        // A file without a byte is a truncated one.
        let reading = self.reading.take();
        let reading = reading.map_or_else(|| checkpoint.begin(file, path), Ok)?;
        let beside = checkpoint.end(reading)?;
        self.done += 1;
        let beside = beside.into_iter().map(|path| (file, path));
        self.plan.streamed.splice(self.done..self.done, beside);
        self.missing = None;
        Ok(())
    }

    /// The plan, once all files are complete.
    pub fn into_plan(self) -> Option<Plan<B>> {
        (self.done == self.plan.streamed.len()).then_some(self.plan)
    }
}
