//! The forward pass, written once over [`Backend`]: token ids in, token states `[tokens, hidden]` out.

use super::layout::{Encoder, Linear, MatrixId, MlmHead, Norm, VectorId};
use super::spec::Spec;
use crate::backend::{Activation, Backend, LayerNorm};
use crate::error::Result;
use crate::text::Batch;

/// Loaded weights, by the indices of a `Layout`.
pub struct Weights<B: Backend> {
    /// Packed matrices; none where another one serves.
    pub matrices: Vec<Option<B::Matrix>>,
    /// Vectors.
    pub vectors: Vec<Vec<f32>>,
}

impl<B: Backend> Weights<B> {
    /// Matrix `id`, which loading has filled.
    pub(super) fn matrix(&self, id: MatrixId) -> &B::Matrix {
        self.matrices[id]
            .as_ref()
            .expect("loading ends with every matrix that the model uses in place")
    }

    fn vector(&self, id: VectorId) -> &[f32] {
        &self.vectors[id]
    }

    fn norm(&self, norm: Norm, eps: f32) -> LayerNorm<'_> {
        LayerNorm {
            weight: self.vector(norm.weight),
            bias: self.vector(norm.bias),
            eps,
        }
    }

    /// `activation(x · weightᵀ + bias)`
    pub fn linear(
        &self,
        backend: &B,
        x: &B::Tensor,
        linear: Linear,
        activation: Activation,
    ) -> Result<B::Tensor> {
        let bias = linear.bias.map(|id| self.vector(id));
        backend.linear(x, self.matrix(linear.weight), bias, activation)
    }
}

/// States of all tokens after the last layer.
pub fn forward<B: Backend>(
    backend: &B,
    spec: &Spec,
    encoder: &Encoder,
    weights: &Weights<B>,
    batch: &Batch,
) -> Result<B::Tensor> {
    let positions = spec.position_ids(batch);
    let types = vec![0; batch.ids.len()];
    let mut tables: Vec<(_, &[u32])> = vec![
        (weights.matrix(encoder.word_embeddings), &batch.ids),
        (weights.matrix(encoder.position_embeddings), &positions),
    ];
    if let Some(table) = encoder.token_type_embeddings {
        tables.push((weights.matrix(table), &types));
    }
    let sum = backend.embed(&tables)?;
    let norm = |norm| weights.norm(norm, spec.norm_eps);
    let mut x = backend.norm(&sum, None, norm(encoder.embedding_norm))?;
    for layer in &encoder.layers {
        let qkv = weights.linear(backend, &x, layer.qkv, Activation::Identity)?;
        let context = backend.attention(&qkv, &batch.offsets, spec.heads)?;
        let output = weights.linear(
            backend,
            &context,
            layer.attention_output,
            Activation::Identity,
        )?;
        x = backend.norm(&output, Some(&x), norm(layer.attention_norm))?;
        let inner = weights.linear(backend, &x, layer.ffn_up, spec.activation)?;
        let output = weights.linear(backend, &inner, layer.ffn_down, Activation::Identity)?;
        x = backend.norm(&output, Some(&x), norm(layer.ffn_norm))?;
    }
    Ok(x)
}

/// For each sequence, the largest logit of every vocabulary entry over its tokens: `[sequences, vocab]`. The
/// `[tokens, vocab]` logits never exist.
pub fn max_logits<B: Backend>(
    backend: &B,
    spec: &Spec,
    head: &MlmHead,
    weights: &Weights<B>,
    states: &B::Tensor,
    batch: &Batch,
) -> Result<B::Tensor> {
    let x = weights.linear(backend, states, head.transform, head.activation)?;
    let x = backend.norm(&x, None, weights.norm(head.norm, spec.norm_eps))?;
    let bias = head.decoder.bias.map(|id| weights.vector(id));
    backend.max_linear(
        &x,
        &batch.offsets,
        weights.matrix(head.decoder.weight),
        bias,
    )
}
