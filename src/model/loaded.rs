//! A loaded model as data: weights on a backend, the routes through them, and what is known about
//! the model.
//!
//! Runs, saving and the GPU check borrow it. [`Embedder`](crate::Embedder) owns one and is the
//! public facade.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::backend::{Backend, NUMERICS, Pooling};
use crate::error::{Error, Result};
use crate::model::info::Info;
use crate::model::transformer::forward::Weights;
use crate::model::transformer::heads::{DenseHead, TokenHead};
use crate::model::transformer::layout::{MatrixId, Precision, Slot};
#[cfg(target_arch = "wasm32")]
use crate::model::transformer::route::Body;
use crate::model::transformer::route::Route;
use crate::model::transformer::static_table::StaticTable;

/// A loaded model.
pub struct Model<B: Backend> {
    pub(in crate::model) backend: B,
    pub(in crate::model) weights: Weights<B>,
    pub(in crate::model) routes: Vec<Route>,
    /// Index of the route that is used if the caller names no task.
    pub(in crate::model) default_route: usize,
    pub(in crate::model) info: Info,
    pub(in crate::model) origin: Origin,
}

/// What saving needs to know about the files that a model was loaded from.
#[derive(Default)]
pub struct Origin {
    /// Small files, by path. Empty unless the model was loaded to be saved.
    pub files: BTreeMap<String, Arc<Vec<u8>>>,
    /// Small files as the options of loading changed them, by path. `None` for files that count as
    /// absent.
    pub replaced: BTreeMap<String, Option<Arc<Vec<u8>>>>,
    /// Paths of the weight files.
    pub weights: Vec<String>,
    /// The tensors in them that the model uses.
    pub tensors: Vec<Tensor>,
    /// Tied matrices: index of the weight file, name of the tensor that it lacks, and the matrix
    /// that is used instead.
    pub tied: Vec<(usize, String, MatrixId)>,
    /// How far each matrix may be quantised.
    pub precisions: Vec<Precision>,
}

/// A tensor of a weight file, and where its values were stored.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Index of its weight file.
    pub file: usize,
    /// The prefix of its name, one of the family's prefixes.
    pub prefix: &'static str,
    /// The rest of its name, as the family spells it.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Where its values are.
    pub slot: Slot,
}

impl<B: Backend> AsRef<Self> for Model<B> {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl<B: Backend> Model<B> {
    /// What is known about the model.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The backend that it runs on.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The route that is used if the caller names no task.
    pub(in crate::model) fn default_route(&self) -> &Route {
        &self.routes[self.default_route]
    }

    /// Index of the route for a task.
    pub(in crate::model) fn route(&self, task: Option<&str>) -> Result<usize> {
        let Some(task) = task else {
            return Ok(self.default_route);
        };
        // What jina-embeddings-v3 calls the two.
        let other = match task {
            "query" => "retrieval.query",
            "document" => "retrieval.passage",
            own => own,
        };
        for name in [task, other] {
            if let Some(index) = self.routes.iter().position(|route| route.name == name) {
                return Ok(index);
            }
        }
        let tasks = self.tasks();
        let is_plain = self.routes.iter().all(|route| route.name.is_empty());
        if is_plain && matches!(task, "query" | "document") {
            return Ok(self.default_route);
        }
        let known = if tasks.is_empty() {
            "query, document".to_owned()
        } else {
            tasks.join(", ")
        };
        Err(Error::input(
            "task",
            format!("task is {task:?}; this model has: {known}"),
        ))
    }

    /// `dense`, `sparse`, `reranker` or `late-interaction`: what the model is made for. A model of
    /// kind `dense` may have other heads, too.
    pub fn kind(&self) -> &'static str {
        self.default_route().kind().name()
    }

    /// Whether the backend computes anything: static tables are in host memory.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn uses_backend(&self) -> bool {
        let body = &self.default_route().body;
        !matches!(body, Body::Static(embedding) if embedding.head.steps.is_empty())
    }

    /// What it gives, of `dense`, `sparse`, `tokens`, `colbert` and `scores`.
    pub fn outputs(&self) -> Vec<&'static str> {
        let route = self.default_route();
        let dense = route.dense().is_some();
        let colbert = route.token_head() == TokenHead::Colbert;
        [
            ("dense", dense),
            ("sparse", route.is_sparse()),
            ("tokens", route.gives_tokens()),
            ("colbert", colbert),
            ("scores", route.classifier().is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }

    /// Names of the routes of a model with a router, and the tasks of late interaction.
    pub fn tasks(&self) -> Vec<&str> {
        if self.default_route().late().is_some() {
            return vec!["query", "document"];
        }
        let names = self.routes.iter().map(|route| route.name.as_str());
        names.filter(|name| !name.is_empty()).collect()
    }

    /// The names of a reranker's labels. Other models have none.
    pub fn labels(&self) -> &[String] {
        let head = self.default_route().classifier();
        head.map_or(&[], |head| head.labels.as_slice())
    }

    /// Width of a vector: dimensions of a dense one or of one of a token, entries of the vocabulary
    /// for sparse models, labels for rerankers.
    pub fn dimensions(&self) -> usize {
        let route = self.default_route();
        if let Some(head) = route.classifier() {
            return head.labels.len();
        }
        if let Some(projection) = route.colbert().filter(|_| route.late().is_some()) {
            return projection.dimensions;
        }
        let width = |head: &DenseHead| self.usual_dimensions(head);
        route.dense().map_or_else(|| route.sparse_size().0, width)
    }

    /// Width of a dense vector unless the caller asks for another one.
    pub(in crate::model) fn usual_dimensions(&self, head: &DenseHead) -> usize {
        let most = self.info.truncate_dim.unwrap_or(usize::MAX);
        head.dimensions.min(most)
    }

    /// Whether vectors have length 1 unless the caller asks for something else.
    pub fn normalized(&self) -> bool {
        let route = self.default_route();
        match route.dense() {
            Some(head) => head.normalize,
            None => route
                .colbert()
                .is_some_and(|projection| projection.normalize),
        }
    }

    /// The pooling modes of the default route; none if it gives sparse vectors only.
    pub(crate) fn pooling(&self) -> Option<&[Pooling]> {
        let head = self.default_route().dense()?;
        Some(&head.pooling)
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        let matrices = self
            .weights
            .matrices
            .iter()
            .flatten()
            .map(|matrix| self.backend.bytes(matrix));
        let vectors = self
            .weights
            .vectors
            .iter()
            .map(|vector| size_of_val(vector.as_slice()));
        let tables = self.weights.tables.iter().map(StaticTable::bytes);
        matrices.chain(vectors).chain(tables).sum()
    }

    /// Identifies the vector space: equal for equal weights, tokenizer, dtype and pipeline,
    /// wherever they were loaded from. 32 hexadecimal digits.
    pub fn space_id(&self) -> String {
        let info = &self.info;
        let mut text = format!(
            "{NUMERICS} {:016x} {:016x} {} {} {:?} {:?} {}",
            info.fingerprint,
            info.text,
            info.dtype.name(),
            info.pipeline,
            info.prompts.default,
            info.prompts.named,
            info.max_tokens
        );
        for (name, value) in [
            (" truncate_dim ", info.truncate_dim),
            (" max_active_dims ", info.max_active_dims),
        ] {
            if let Some(value) = value {
                text += name;
                text += &value.to_string();
            }
        }
        if let Some(kind) = info.kind {
            text += " as ";
            text += kind.name();
        }
        let digest = Sha256::digest(text);
        let (first, _) = digest.as_chunks::<16>();
        format!("{:032x}", u128::from_be_bytes(first[0]))
    }
}
