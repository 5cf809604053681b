//! Scores of pairs of texts, and documents by their scores for a query.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::run::Run;
use crate::model::run::options::ScoreOptions;
use crate::model::run::outputs::{Ranked, ScoreBatch};
use crate::model::run::queue::Queue;
use crate::model::transformer::classifier::Classifier;
use crate::text::Input;

impl<B: Backend> Embedder<B> {
    /// Names of a reranker's labels; there are none where the model is none.
    pub fn labels(&self) -> &[String] {
        let head = self.default_route().classifier();
        head.map_or(&[], |head| head.labels.as_slice())
    }

    /// Scores pairs of texts, in one go. A text by itself has scores, too, which is what a model that classifies texts takes.
    pub fn score(&self, inputs: Vec<Input>, options: &ScoreOptions) -> Result<ScoreBatch> {
        Ok(self.all(self.start_scores(inputs, options)?)?.into_scores())
    }

    /// Scores pairs of texts, step by step. Of no pairs there are no scores.
    pub fn start_scores(&self, inputs: Vec<Input>, options: &ScoreOptions) -> Result<Run> {
        let head = self.classifier()?;
        let activation = options.activation.unwrap_or(head.scores);
        let prompt = self.prompt(options.text())?;
        let queue = Queue::of(inputs, prompt, false, options.text());
        let mut run = Run::new(queue, self.default_route, None, None, None);
        run.score(head.labels.len(), activation);
        Ok(run)
    }

    /// Ranks documents by their scores for a query, the best first, in one go.
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
        Ok(self.all(run)?.into_scores().ranked(top_k))
    }

    /// Scores documents for a query, step by step; [`ScoreBatch::ranked`] brings them in order. Of no documents there are no
    /// scores.
    pub fn start_rerank(
        &self,
        query: &str,
        documents: Vec<String>,
        options: &ScoreOptions,
    ) -> Result<Run> {
        let labels = self.classifier()?.labels.len();
        if labels != 1 {
            return Err(Error::input(
                "model",
                format!(
                    "the model gives {labels} scores for a pair, one for each of its labels, so that it ranks nothing; ask for the scores (score), or load a reranker with one label"
                ),
            ));
        }
        if query.trim().is_empty() {
            return Err(Error::EmptyInput(
                "the query is empty: nothing can be ranked for it".to_owned(),
            ));
        }
        let pair = |document| Input::Pair(query.to_owned(), document);
        self.start_scores(documents.into_iter().map(pair).collect(), options)
    }

    fn classifier(&self) -> Result<&Classifier> {
        self.default_route().classifier().ok_or_else(|| {
            self.wrong_kind(
                "ask it for vectors (encode, encodeSparse), or load a reranker for scores of pairs",
            )
        })
    }
}
