//! Requests that rank documents by their relevance to a query, in the form that Cohere, Jina and
//! others share. It is no format of its own.

use serde::Serialize;

use crate::api::json::{Body, Document};
use crate::api::{Pending, Work};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::run::options::ScoreOptions;
use crate::model::transformer::classifier::ScoreActivation;

/// A query, and the documents to rank. A document that is too long is truncated.
pub struct Ranking {
    query: String,
    documents: Vec<Document>,
    /// The most documents in the response.
    top_n: usize,
    /// Whether the response has the texts of the documents.
    return_documents: bool,
}

/// An element of `results`, the best first.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RankedDocument {
    /// The document's index in the request.
    index: usize,
    /// How relevant the document is, from 0 to 1.
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<DocumentText>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct DocumentText {
    text: String,
}

/// Takes the field `query`.
pub fn query(body: &mut Body) -> Result<String> {
    let missing = || Error::input("query", "query is missing; pass a string");
    body.text("query")?.ok_or_else(missing)
}

/// Takes a number that must not be 0.
pub fn at_least_one(body: &mut Body, name: &'static str) -> Result<Option<u64>> {
    match body.whole(name)? {
        Some(0) => {
            let reason = format!("{name} is 0; it must be 1 or more");
            Err(Error::input(name, reason))
        }
        number => Ok(number),
    }
}

impl Ranking {
    /// Reads the fields of a request. `return_documents` is the default of that field.
    pub fn read(body: &mut Body, return_documents: bool) -> Result<Self> {
        let query = query(body)?;
        let documents = body.documents("documents")?;
        let top_n = at_least_one(body, "top_n")?.unwrap_or(u64::MAX);
        let return_documents = body.flag("return_documents")?.unwrap_or(return_documents);
        let partial = documents.iter().position(|document| document.has_more);
        if let Some(index) = partial.filter(|_| return_documents) {
            let reason = format!(
                "documents[{index}] has fields other than text, which cannot be returned: leave them out, or set return_documents to false"
            );
            return Err(Error::input("documents", reason));
        }
        Ok(Self {
            query,
            documents,
            top_n: usize::try_from(top_n).unwrap_or(usize::MAX),
            return_documents,
        })
    }

    /// Whether there is nothing to rank.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Truncates each document to this many tokens.
    pub fn truncate<B: Backend>(&mut self, embedder: &Embedder<B>, most: usize) -> Result<()> {
        for Document { text, .. } in &mut self.documents {
            // A token has a byte at least.
            if text.len() <= most {
                continue;
            }
            let tokens = embedder.tokenize(text, false)?;
            if tokens.len() > most {
                let mut ends = tokens[..most].iter().rev().filter_map(|token| token.stop);
                let end = text.floor_char_boundary(ends.next().unwrap_or(0));
                text.truncate(end);
            }
        }
        Ok(())
    }

    /// Starts to score the documents. `respond` makes the response of the ranked documents and of
    /// the number of tokens.
    pub fn start<B: Backend, T: Serialize + 'static>(
        self,
        embedder: &Embedder<B>,
        respond: impl FnOnce(Vec<RankedDocument>, u64) -> T + 'static,
    ) -> Result<Work> {
        let texts: Vec<String> = self.documents.into_iter().map(|one| one.text).collect();
        let mut kept = if self.return_documents {
            texts.clone()
        } else {
            Vec::new()
        };
        let options = ScoreOptions {
            // In these APIs, scores are from 0 to 1, whatever the files of the model say. Those of
            // late interaction are sums, which nothing maps to that range.
            activation: Some(if embedder.is_late() {
                ScoreActivation::Identity
            } else {
                ScoreActivation::Sigmoid
            }),
            truncate: Some(true),
            ..ScoreOptions::default()
        };
        let run = embedder.start_rerank(&self.query, texts, &options)?;
        let top_n = self.top_n;
        Ok(Work::running(Pending::new(run, move |output| {
            let batch = output.into_scores();
            let tokens = batch.tokens.iter().map(|tokens| u64::from(*tokens)).sum();
            let ranked = batch.ranked(Some(top_n)).into_iter();
            let results = ranked.map(|ranked| RankedDocument {
                index: ranked.index,
                relevance_score: ranked.score,
                document: kept.get_mut(ranked.index).map(|text| DocumentText {
                    text: std::mem::take(text),
                }),
            });
            respond(results.collect(), tokens)
        })))
    }
}
