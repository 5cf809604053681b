//! Whether a GPU computes what the CPU does: drivers and browsers have been known to be silently wrong.

use crate::backend::WeightDtype;
use crate::backend::either::Either;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::run::Run;
use crate::model::run::options::{EncodeOptions, ScoreActivation, ScoreOptions, SparseOptions};
use crate::model::run::outputs::Output;
use crate::text::Input;

/// A short text, and one that is several tiles of every kernel.
const TEXTS: [&str; 2] = [
    "Ships at night",
    "The harbour lights went out one after the other while the last ferry, late as always, turned its bow to the north and \
     followed the slow buoys out to the open sea, past the breakwater and the two wrecks that nobody had cared to raise.",
];

/// Tokens of a text that is a tile of half the size.
const MEDIUM: usize = 24;

impl Embedder<Either> {
    /// Compares the vectors of fixed texts with those of the CPU, to which weights that it has not come back from the GPU, a
    /// matrix at a time. Meanwhile no other run may be under way.
    pub async fn check(&self) -> Result<()> {
        self.backend().check_loaded()?;
        let text = |text: &str| Input::Text(text.to_owned());
        let long = self.tokenize(TEXTS[1], true)?;
        let special = long.iter().filter(|token| token.special).count();
        // So many of the text's own tokens are left out that what is left is of the size.
        let room = MEDIUM.min(self.info().max_tokens).saturating_sub(special);
        let mut own = 0;
        let medium = long.iter().filter(|token| {
            own += usize::from(!token.special);
            token.special || own <= room
        });
        let medium = Input::Ids(medium.map(|token| token.id).collect());
        // Smaller passes have kernels of their own, which then are compiled, too.
        for inputs in [vec![text(TEXTS[0])], vec![medium], TEXTS.map(text).to_vec()] {
            let start = || {
                let inputs = inputs.clone();
                match self.kind() {
                    "dense" => self.start(inputs, &EncodeOptions::default()),
                    "sparse" => self.start_sparse(inputs, &SparseOptions::default()),
                    _ => {
                        let activation = Some(ScoreActivation::Identity);
                        let options = ScoreOptions {
                            activation,
                            ..ScoreOptions::default()
                        };
                        self.start_scores(inputs, &options)
                    }
                }
            };
            let mut run = start()?;
            while !run.step(self)? {
                if let Some(values) = run.waits_for() {
                    values.await;
                }
            }
            let cosine = least_cosine(&run.finish(), &self.rehearse(start).await?);
            let least = match self.info().dtype {
                WeightDtype::F32 | WeightDtype::F16 => 0.999,
                WeightDtype::Q8 | WeightDtype::Q4 => 0.995,
            };
            // Not a number is not enough either.
            if cosine.is_nan() || cosine < least {
                let adapter = self.backend().device().map_or("", |gpu| gpu.name());
                return Err(Error::GpuWrong {
                    adapter: adapter.to_owned(),
                    cosine,
                    least,
                });
            }
        }
        Ok(())
    }

    /// Does a run on the CPU, even where only the GPU has the weights.
    async fn rehearse(&self, start: impl Fn() -> Result<Run>) -> Result<Output> {
        let backend = self.backend();
        backend.begin_rehearsal();
        let output = loop {
            let output = start().and_then(|run| self.all(run));
            let matrices = self.weights.matrices.iter().flatten();
            match (output, backend.lend_missing(matrices).await) {
                (Err(_), Ok(true)) => {}
                (Err(_), Err(error)) => break Err(error),
                (output, _) => break output,
            }
        };
        backend.end_rehearsal();
        output
    }
}

/// Of the vectors of each input.
fn least_cosine(ours: &Output, theirs: &Output) -> f64 {
    let dense = |output: &Output| -> Vec<Vec<(u32, f32)>> {
        let values = output.dense.as_deref().unwrap_or_default();
        let rows = values.chunks_exact(output.dimensions.max(1));
        rows.map(|row| (0..).zip(row.iter().copied()).collect())
            .collect()
    };
    let sparse = |output: &Output| -> Vec<Vec<(u32, f32)>> {
        let vectors = output.sparse.iter().flatten();
        let entries = vectors.map(|vector| vector.indices.iter().zip(&vector.values));
        entries
            .map(|entries| entries.map(|(index, value)| (*index, *value)).collect())
            .collect()
    };
    // The direction of (score, 1) tells by how much a score differs, which that of a score alone does not.
    let scores = |output: &Output| -> Vec<Vec<(u32, f32)>> {
        let scores = output.scores.iter().flatten();
        scores.map(|score| vec![(0, *score), (1, 1.0)]).collect()
    };
    let all = |output: &Output| [dense(output), sparse(output), scores(output)].concat();
    let (ours, theirs) = (all(ours), all(theirs));
    let cosines = ours.iter().zip(&theirs).map(|(a, b)| cosine(a, b));
    cosines.fold(1.0, |least, cosine| {
        if cosine < least || cosine.is_nan() {
            cosine
        } else {
            least
        }
    })
}

/// Of two lists of entries by ascending index.
fn cosine(a: &[(u32, f32)], b: &[(u32, f32)]) -> f64 {
    let product = |a: &[(u32, f32)], b: &[(u32, f32)]| -> f64 {
        let terms = a.iter().filter_map(|(index, x)| {
            let at = b.binary_search_by_key(index, |(index, _)| *index).ok()?;
            Some(f64::from(*x) * f64::from(b[at].1))
        });
        terms.sum()
    };
    if a.is_empty() && b.is_empty() {
        return 1.0;
    }
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}
