//! Checks that the GPU computes what the CPU does. Some drivers and browsers are silently wrong.

use crate::backend::WeightDtype;
use crate::backend::either::Either;
use crate::backend::rehearsal::Rehearsal;
use crate::error::{Error, Result};
use crate::model::loaded::Model;
use crate::model::run::pass::{self, DenseOf, Pass, PassKey, Vectors};
use crate::model::transformer::heads::TokenHead;
use crate::model::transformer::late::Task;
use crate::model::transformer::route::Body;

use crate::text::{Direction, Input, Rules, Tokens};

/// A short text, and one that takes several tiles of every kernel.
const TEXTS: [&str; 2] = [
    "Ships at night",
    "The harbour lights went out one after the other while the last ferry, late as always, turned its bow to the north and \
     followed the slow buoys out to the open sea, past the breakwater and the two wrecks that nobody had cared to raise.",
];

/// Tokens of a text that fits kernels with tiles of half the size.
const MEDIUM: usize = 24;

impl Model<Either> {
    /// Compares the vectors of fixed texts with those that the CPU computes. The CPU gets weights
    /// that only the GPU stores one matrix at a time.
    pub async fn check(&self) -> Result<()> {
        self.backend().check_loaded()?;
        let Some(gpu) = self.backend().device() else {
            return Ok(());
        };
        let route = self.default_route;
        let Body::Transformer(transformer) = &self.routes[route].body else {
            return Ok(());
        };
        let late = self.default_route().late().is_some();
        let key = PassKey {
            route,
            dense: transformer.dense.as_ref().map(|_| DenseOf::Input),
            sparse: transformer.sparse.is_some() && transformer.dense.is_none(),
            tokens: late.then_some(TokenHead::Colbert),
            scores: transformer.classifier.is_some(),
        };
        let [short, long] = TEXTS.map(|text| Input::Text(text.to_owned()));
        // Small passes have kernels of their own. These are compiled and checked, too. Queries may
        // have fewer keys than tokens.
        for (task, inputs) in [
            (Task::Query, vec![short.clone()]),
            (Task::Document, vec![self.medium()?]),
            (Task::Document, vec![short, long]),
        ] {
            let tokens = self.tokens(route, task, &inputs)?;
            let tokens: Vec<&Tokens> = tokens.iter().collect();
            let cosine = least_cosine(
                &self.compute(key, &tokens).await?,
                &self.rehearse(key, &tokens).await?,
            );
            let least = match self.info().dtype {
                WeightDtype::F32 | WeightDtype::F16 => 0.999,
                WeightDtype::Q8 | WeightDtype::Q6 | WeightDtype::Q4 => 0.995,
            };
            // A NaN fails, too.
            if cosine.is_nan() || cosine < least {
                return Err(Error::GpuWrong {
                    adapter: gpu.name().to_owned(),
                    cosine,
                    least,
                });
            }
        }
        Ok(())
    }

    /// The long text, cut to [`MEDIUM`] tokens.
    fn medium(&self) -> Result<Input> {
        let long = self.default_route().tokenizer.describe(TEXTS[1], true)?;
        let special = long.iter().filter(|token| token.special).count();
        let room = MEDIUM.min(self.info().max_tokens).saturating_sub(special);
        let mut own = 0;
        let medium = long.iter().filter(|token| {
            own += usize::from(!token.special);
            token.special || own <= room
        });
        Ok(Input::Ids(medium.map(|token| token.id).collect()))
    }

    fn tokens(&self, route: usize, task: Task, inputs: &[Input]) -> Result<Vec<Tokens>> {
        let route = &self.routes[route];
        let rules = Rules {
            prompt: "",
            skip_prompt: false,
            limit: route.max_tokens,
            truncate: true,
            direction: Direction::Model,
        };
        let is_asked = route.tokenizer.question().is_some();
        let tokens = inputs.iter().enumerate().map(|(index, input)| match input {
            Input::Text(text) if is_asked => {
                let pair = Input::Pair(text.clone(), text.clone());
                route.tokens(Some(task), index, &pair, rules)
            }
            input => route.tokens(Some(task), index, input, rules),
        });
        tokens.collect()
    }

    /// Vectors by way of this embedder's backend.
    async fn compute(&self, key: PassKey, tokens: &[&Tokens]) -> Result<Vectors> {
        let pass = Pass::start(self, key, tokens)?;
        pass.clone().await;
        let mut vectors = Vectors::default();
        match pass.vectors(&self.routes[key.route], &mut |own| {
            vectors = std::mem::take(own);
        }) {
            Some(outcome) => outcome.map(|()| vectors),
            None => Err(Error::Internal("a pass did not end".to_owned())),
        }
    }

    /// Vectors by way of the CPU, also where only the GPU stores the weights.
    async fn rehearse(&self, key: PassKey, tokens: &[&Tokens]) -> Result<Vectors> {
        let rehearsal = Rehearsal::new(self.backend());
        let weights = self.weights.referred();
        let route = &self.routes[key.route];
        loop {
            match pass::vectors_of(&rehearsal, &weights, route, key, tokens) {
                Err(error) => {
                    if !rehearsal.fetch_missing().await? {
                        return Err(error);
                    }
                }
                vectors => return vectors,
            }
        }
    }
}

/// The least cosine between the vectors of each input.
fn least_cosine(ours: &Vectors, theirs: &Vectors) -> f64 {
    let all = |vectors: &Vectors| -> Vec<Vec<(u32, f32)>> {
        let rows = vectors.dense.chunks_exact(vectors.dimensions.max(1));
        let rows = rows.map(|row| (0..).zip(row.iter().copied()).collect());
        // The direction of (logit, 1) tells how much logits differ. One number has no direction.
        let logits = vectors.logits.iter().flatten();
        let logits = logits.map(|logit| vec![(0, *logit), (1, 1.0)]);
        let tokens = vectors.tokens.iter().flat_map(|tokens| {
            let rows = tokens.data.chunks_exact(tokens.dimensions.max(1));
            rows.map(|row| (0..).zip(row.iter().copied()).collect())
        });
        rows.chain(vectors.sparse.iter().cloned())
            .chain(logits)
            .chain(tokens)
            .collect()
    };
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

/// The cosine of two lists of entries in ascending order of index.
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
