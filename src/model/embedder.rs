//! The public facade of a loaded model: each call, at once or as a [`Run`] of bounded steps.

use crate::backend::either::Either;
use crate::backend::{Backend, Pooling};
use crate::error::{Error, Result};
use crate::model::info::Info;
use crate::model::load::save::SavedFile;
use crate::model::loaded::Model;
use crate::model::run::options::{
    ChunkOptions, EncodeOptions, MultiOptions, ScoreOptions, SparseOptions, TokenOptions,
};
use crate::model::run::outputs::{
    DenseBatch, Measure, Output, Ranked, ScoreBatch, SparseBatch, TokenVectors,
};
use crate::model::run::text::{ChunkRun, TextStep, TokenRun};
use crate::model::run::{Run, start};
use crate::text::{Chunk, Input, Token};

/// A loaded model, ready for use.
pub struct Embedder<B: Backend> {
    model: Model<B>,
}

impl<B: Backend> AsRef<Model<B>> for Embedder<B> {
    fn as_ref(&self) -> &Model<B> {
        &self.model
    }
}

impl<B: Backend> Embedder<B> {
    pub(in crate::model) fn new(model: Model<B>) -> Self {
        Self { model }
    }

    /// What is known about the model.
    pub fn info(&self) -> &Info {
        self.model.info()
    }

    /// The backend that it runs on.
    pub fn backend(&self) -> &B {
        self.model.backend()
    }

    /// `dense`, `sparse`, `reranker` or `late-interaction`, see [`Model::kind`].
    pub fn kind(&self) -> &'static str {
        self.model.kind()
    }

    /// Whether the backend computes anything, see [`Model::uses_backend`].
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn uses_backend(&self) -> bool {
        self.model.uses_backend()
    }

    /// What it gives, of `dense`, `sparse`, `tokens`, `colbert` and `scores`.
    pub fn outputs(&self) -> Vec<&'static str> {
        self.model.outputs()
    }

    /// Names of the routes of a model with a router.
    pub fn tasks(&self) -> Vec<&str> {
        self.model.tasks()
    }

    /// Width of a vector: dimensions of a dense one, entries of the vocabulary for sparse models.
    pub fn dimensions(&self) -> usize {
        self.model.dimensions()
    }

    /// Whether vectors have length 1 unless the caller asks for something else.
    pub fn normalized(&self) -> bool {
        self.model.normalized()
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.model.weight_bytes()
    }

    /// The names of a reranker's labels. Other models have none.
    pub fn labels(&self) -> &[String] {
        self.model.labels()
    }

    /// Scores pairs of texts at once. A text by itself has scores too, as models that classify
    /// texts take it.
    pub fn score(&self, inputs: Vec<Input>, options: &ScoreOptions) -> Result<ScoreBatch> {
        let run = self.start_scores(inputs, options)?;
        Ok(run.complete(&self.model)?.into_scores())
    }

    /// As [`Self::score`], in steps.
    pub fn start_scores(&self, inputs: Vec<Input>, options: &ScoreOptions) -> Result<Run> {
        start::scores(&self.model, inputs, options)
    }

    /// Ranks documents by their scores for a query at once, the best first, at most `top_k`. A
    /// reranker scores pairs; a model for late interaction compares vectors of tokens.
    pub fn rerank(
        &self,
        query: &str,
        documents: Vec<String>,
        top_k: Option<usize>,
        options: &ScoreOptions,
    ) -> Result<Vec<Ranked>> {
        if top_k == Some(0) {
            return Err(Error::input("topK", "topK is 0; it must be 1 or more"));
        }
        let run = self.start_rerank(query, documents, options)?;
        Ok(run.complete(&self.model)?.into_scores().ranked(top_k))
    }

    /// Scores documents for a query in steps, in the order of the documents.
    /// [`ScoreBatch::ranked`] sorts them.
    pub fn start_rerank(
        &self,
        query: &str,
        documents: Vec<String>,
        options: &ScoreOptions,
    ) -> Result<Run> {
        start::rerank(&self.model, query, documents, options)
    }

    /// Identifies the vector space, see [`Model::space_id`].
    pub fn space_id(&self) -> String {
        self.model.space_id()
    }

    /// The pooling modes of the default route; none if it gives sparse vectors only.
    pub(crate) fn pooling(&self) -> Option<&[Pooling]> {
        self.model.pooling()
    }

    /// Whether the model is made for late interaction.
    pub(crate) fn is_late(&self) -> bool {
        self.model.default_route().late().is_some()
    }

    /// Errors if the vectors of the inputs' tokens have more than `limit` numbers.
    pub(crate) fn check_size(
        &self,
        inputs: &[Input],
        options: &TokenOptions,
        limit: usize,
    ) -> Result<()> {
        start::check_size(&self.model, inputs, options, limit)
    }

    /// The tokens of a text, none cut off.
    pub fn tokenize(&self, text: &str, add_special_tokens: bool) -> Result<Vec<Token>> {
        let tokenizer = &self.model.default_route().tokenizer;
        tokenizer.describe(text, add_special_tokens)
    }

    /// As [`Self::tokenize`] of each text, in steps.
    pub fn start_tokenize(&self, texts: Vec<String>, add_special_tokens: bool) -> TokenRun {
        TokenRun::new(texts, add_special_tokens)
    }

    /// The text of token ids.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        let tokenizer = &self.model.default_route().tokenizer;
        match ids.iter().find(|id| tokenizer.entry(**id).is_none()) {
            Some(id) => Err(Error::TokenOutOfRange {
                id: u64::from(*id),
                size: tokenizer.size(),
            }),
            None => tokenizer.decode(ids, skip_special_tokens),
        }
    }

    /// Where [`Self::encode_chunks`] with these options cuts a text.
    pub fn chunk(
        &self,
        text: &str,
        chunks: ChunkOptions,
        options: &EncodeOptions,
    ) -> Result<Vec<Chunk>> {
        let mut run = self.start_chunk(vec![text.to_owned()], chunks, options)?;
        let (mut all, mut unlimited) = (Vec::new(), usize::MAX);
        while let TextStep::Items(mut items, _) = run.step(self, &mut unlimited)? {
            all.append(&mut items);
        }
        Ok(all)
    }

    /// As [`Self::chunk`] of each text, in steps.
    pub fn start_chunk(
        &self,
        texts: Vec<String>,
        chunks: ChunkOptions,
        options: &EncodeOptions,
    ) -> Result<ChunkRun> {
        start::chunk(&self.model, texts, chunks, options)
    }

    /// Dense vectors.
    pub fn encode(&self, inputs: Vec<Input>, options: &EncodeOptions) -> Result<DenseBatch> {
        let run = self.start(inputs, options)?;
        Ok(run.complete(&self.model)?.into_dense())
    }

    /// Sparse vectors.
    pub fn encode_sparse(
        &self,
        inputs: Vec<Input>,
        options: &SparseOptions,
    ) -> Result<SparseBatch> {
        let run = self.start_sparse(inputs, options)?;
        Ok(run.complete(&self.model)?.into_sparse())
    }

    /// A vector for each token.
    pub fn encode_tokens(&self, inputs: Vec<Input>, options: &TokenOptions) -> Result<Output> {
        self.start_tokens(inputs, options)?.complete(&self.model)
    }

    /// The score of a query with each of some documents, by their vectors from
    /// [`Self::encode_tokens`]: the sum of the largest products, as in `ColBERT`, or for `BGE-M3`
    /// and models whose `similarity` is `meanmaxsim` their mean over the query's vectors. See
    /// [`TokenVectors::max_sim`].
    pub fn max_sim(&self, query: &TokenVectors, documents: &[TokenVectors]) -> Result<Vec<f32>> {
        let late = self.model.default_route().late();
        let measure = late.map_or(Measure::Mean, |late| late.measure);
        documents
            .iter()
            .map(|document| measure.score(query, document))
            .collect()
    }

    /// Several kinds of vectors from one forward pass.
    pub fn encode_multi(&self, inputs: Vec<Input>, options: &MultiOptions) -> Result<Output> {
        self.start_multi(inputs, options)?.complete(&self.model)
    }

    /// Splits texts into chunks, and gives a dense vector for each chunk.
    pub fn encode_chunks(
        &self,
        texts: Vec<Input>,
        chunks: ChunkOptions,
        options: &EncodeOptions,
    ) -> Result<Output> {
        let run = self.start_chunks(texts, chunks, options)?;
        run.complete(&self.model)
    }

    /// As [`Self::encode`], in steps.
    pub fn start(&self, inputs: Vec<Input>, options: &EncodeOptions) -> Result<Run> {
        start::dense(&self.model, inputs, options)
    }

    /// As [`Self::encode_sparse`], in steps.
    pub fn start_sparse(&self, inputs: Vec<Input>, options: &SparseOptions) -> Result<Run> {
        start::sparse(&self.model, inputs, options)
    }

    /// As [`Self::encode_tokens`], in steps.
    pub fn start_tokens(&self, inputs: Vec<Input>, options: &TokenOptions) -> Result<Run> {
        start::tokens(&self.model, inputs, options)
    }

    /// As [`Self::encode_multi`], in steps.
    pub fn start_multi(&self, inputs: Vec<Input>, options: &MultiOptions) -> Result<Run> {
        start::multi(&self.model, inputs, options)
    }

    /// As [`Self::encode_chunks`], in steps.
    pub fn start_chunks(
        &self,
        texts: Vec<Input>,
        chunks: ChunkOptions,
        options: &EncodeOptions,
    ) -> Result<Run> {
        start::chunks(&self.model, texts, chunks, options)
    }

    /// The files of a folder that loads as this model with bit-identical vectors, see
    /// [`Model::save`].
    pub fn save(&self, shard: Option<u64>) -> Result<Vec<SavedFile>> {
        self.model.save(shard)
    }

    /// As [`Model::save_original`].
    pub fn save_original(&self, shard: Option<u64>) -> Result<Vec<SavedFile>> {
        self.model.save_original(shard)
    }

    /// Bytes of a file of [`Self::save`] from `offset` on, as many as fit in `out`. Returns how
    /// many these are.
    pub fn read_saved(&self, file: &SavedFile, offset: u64, out: &mut [u8]) -> Result<usize> {
        self.model.read_saved(file, offset, out)
    }
}

impl Embedder<Either> {
    /// As [`Self::read_saved`], also where only the GPU has the weights: they are read back one
    /// matrix at a time.
    pub async fn fetch_saved(
        &self,
        file: &SavedFile,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize> {
        self.model.fetch_saved(file, offset, out).await
    }

    /// Compares the GPU's vectors of fixed texts with the CPU's, see [`Model::check`].
    pub async fn check(&self) -> Result<()> {
        self.model.check().await
    }
}
