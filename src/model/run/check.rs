//! Checks that the GPU computes what the CPU does. Some drivers and browsers are silently wrong.

use crate::backend::WeightDtype;
use crate::backend::either::Either;
use crate::error::{Error, Result};
use crate::model::loaded::Model;
use crate::model::run::options::{EncodeOptions, SparseOptions};
use crate::model::run::outputs::Output;
use crate::model::run::{Run, start};
use crate::text::Input;

/// A short text, and one that takes several tiles of every kernel.
const TEXTS: [&str; 2] = [
    "Ships at night",
    "The harbour lights went out one after the other while the last ferry, late as always, turned its bow to the north and \
     followed the slow buoys out to the open sea, past the breakwater and the two wrecks that nobody had cared to raise.",
];

/// Tokens of a text that fits kernels with tiles of half the size.
const MEDIUM: usize = 24;

impl Model<Either> {
    /// Compares the GPU's vectors of fixed texts with the CPU's. Weights that only the GPU has are
    /// read back one matrix at a time. No other run may be under way meanwhile.
    pub async fn check(&self) -> Result<()> {
        self.backend().check_loaded()?;
        let text = |text: &str| Input::Text(text.to_owned());
        let long = self.default_route().tokenizer.describe(TEXTS[1], true)?;
        let special = long.iter().filter(|token| token.special).count();
        // The special tokens, and as many of the text's own as give the size.
        let room = MEDIUM.min(self.info().max_tokens).saturating_sub(special);
        let mut own = 0;
        let medium = long.iter().filter(|token| {
            own += usize::from(!token.special);
            token.special || own <= room
        });
        let medium = Input::Ids(medium.map(|token| token.id).collect());
        // Passes of each size have their own kernels. The check compiles all of them.
        for inputs in [vec![text(TEXTS[0])], vec![medium], TEXTS.map(text).to_vec()] {
            let begin = || {
                if self.kind() == "dense" {
                    start::dense(self, inputs.clone(), &EncodeOptions::default())
                } else {
                    start::sparse(self, inputs.clone(), &SparseOptions::default())
                }
            };
            let mut run = begin()?;
            while !run.step(self)? {
                if let Some(values) = run.waits_for() {
                    values.await;
                }
            }
            let cosine = least_cosine(&run.finish(), &self.rehearse(begin).await?);
            let least = match self.info().dtype {
                WeightDtype::F32 | WeightDtype::F16 => 0.999,
                WeightDtype::Q8 | WeightDtype::Q4 => 0.995,
            };
            // NaN is an error as well.
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

    /// Does a run on the CPU, even if only the GPU has the weights.
    async fn rehearse(&self, begin: impl Fn() -> Result<Run>) -> Result<Output> {
        let backend = self.backend();
        backend.begin_rehearsal();
        let output = loop {
            let output = begin().and_then(|run| run.complete(self));
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

/// The smallest cosine between the two vectors of an input.
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
    let all = |output: &Output| [dense(output), sparse(output)].concat();
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

/// The cosine of two vectors, given as entries in ascending order of index.
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
