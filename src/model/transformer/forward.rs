//! The forward pass, written once over [`Compute`]: token ids in, token states `[tokens, hidden]`
//! out.

use crate::backend::{
    self, Activation, Attention, Compute, Distances, NormKind, RelativeBias, Rotary, Splade,
};
use crate::error::Result;
use crate::full::Full;
use crate::model::transformer::layout::{
    Encoder, ExpertLayer, FeedForward, Layer, Linear, LowRank, MatrixId, MlmHead, Norm, Norms, Qkv,
    RelativeTable, VectorId,
};
use crate::model::transformer::spec::{Disentangled, Experts, Relative, Rope, Spec};
use crate::model::transformer::static_table::StaticTable;
use crate::text::Batch;

/// Loaded weights, by the indices of a `Layout`.
pub struct Weights<B: Compute> {
    /// Packed matrices; none for a matrix that is tied to another one, which is used instead.
    pub matrices: Vec<Option<B::Matrix>>,
    /// Vectors.
    pub vectors: Vec<Vec<f32>>,
    /// Static tables.
    pub tables: Vec<StaticTable>,
}

impl<B: Compute> Weights<B> {
    /// Matrix `id`. Loading has stored every matrix that the model uses.
    pub(in crate::model) fn matrix(&self, id: MatrixId) -> &B::Matrix {
        self.matrices[id]
            .as_ref()
            .expect("loading ends with every matrix that the model uses in place")
    }

    /// Vector `id`.
    pub fn vector(&self, id: VectorId) -> &[f32] {
        &self.vectors[id]
    }

    /// The same weights for a backend that refers to the matrices of this one. Vectors are copied;
    /// static tables are left out, since no backend computes with them.
    pub fn referred<'a, R: Compute<Matrix = &'a B::Matrix>>(&'a self) -> Weights<R> {
        Weights {
            matrices: self.matrices.iter().map(Option::as_ref).collect(),
            vectors: self.vectors.clone(),
            tables: Vec::new(),
        }
    }

    /// A norm with its parameters.
    pub fn norm(&self, norm: Norm, kind: NormKind, eps: f32) -> backend::Norm<'_> {
        backend::Norm {
            kind,
            weight: self.vector(norm.weight),
            bias: norm.bias.map(|id| self.vector(id)),
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
        let backend::Linear { weight, bias } = self.parameters(linear);
        backend.linear(x, weight, bias, activation)
    }

    fn parameters(&self, linear: Linear) -> backend::Linear<'_, B> {
        backend::Linear {
            weight: self.matrix(linear.weight),
            bias: linear.bias.map(|id| self.vector(id)),
        }
    }
}

/// A forward pass over a batch.
struct ForwardPass<'a, B: Compute> {
    backend: &'a B,
    spec: &'a Spec,
    weights: &'a Weights<B>,
    offsets: &'a [usize],
    /// Number of keys of each sequence, if it has fewer keys than tokens.
    keys: Option<&'a [usize]>,
    /// The tables of each kind of rotary embedding that a layer uses.
    rotaries: Vec<(Rope, Rotary)>,
    bias: Option<RelativeBias>,
    /// Vectors of distances, which attention compares with tokens.
    positions: Option<Full<(B::Tensor, Distances)>>,
    /// The task whose adapters are used: its index, and their factor.
    task: Option<(usize, f32)>,
}

/// States of all tokens after the last layer.
pub fn forward<B: Compute>(
    backend: &B,
    spec: &Spec,
    encoder: &Encoder,
    weights: &Weights<B>,
    batch: &Batch,
) -> Result<B::Tensor> {
    let lengths = batch.offsets.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = lengths.max().unwrap_or(0);
    let mut rotaries: Vec<(Rope, Rotary)> = Vec::new();
    for rope in spec.layers.iter().filter_map(|layer| layer.rope) {
        if rotaries.iter().all(|(known, _)| *known != rope) {
            rotaries.push((rope, rope.table(spec.heads.size, longest)?));
        }
    }
    let relative = spec.relative;
    let relative = relative.filter(|relative| !matches!(relative, Relative::Disentangled(_)));
    let bias = relative.map(|relative| {
        let table = encoder.relative_bias.map(|id| weights.vector(id));
        relative.bias(spec.heads.count, longest, table)
    });
    let bias = bias.transpose()?;
    let mut pass = ForwardPass {
        backend,
        spec,
        weights,
        offsets: &batch.offsets,
        keys: batch.fewer_keys(),
        rotaries,
        bias,
        positions: None,
        task: encoder
            .task
            .zip(spec.adapters.as_ref().map(|all| all.scale)),
    };
    if let (Some(Relative::Disentangled(own)), Some(table)) = (spec.relative, encoder.relative) {
        let positions = own.map(|own| pass.positions(own, *table, longest));
        pass.positions = Some(positions.transposed()?);
    }
    let mut x = pass.embed(encoder, batch)?;
    for (index, layer) in encoder.layers.iter().enumerate() {
        x = pass.around(&x, layer.attention_norms, |x| {
            pass.attention(x, index, layer)
        })?;
        x = pass.around(&x, layer.ffn_norms, |x| pass.feed_forward(x, layer))?;
    }
    if let Some(norm) = encoder.final_norm {
        x = pass.norm(&x, None, norm)?;
    }
    match encoder.projection {
        Some(linear) => pass.linear(&x, linear, Activation::Identity),
        None => Ok(x),
    }
}

impl<B: Compute> ForwardPass<'_, B> {
    fn embed(&self, encoder: &Encoder, batch: &Batch) -> Result<B::Tensor> {
        let weights = self.weights;
        let positions = self.spec.positions.ids(batch);
        let mut tables: Vec<(_, &[u32])> =
            vec![(weights.matrix(encoder.word_embeddings), &batch.ids)];
        if let Some(table) = encoder.position_embeddings {
            tables.push((weights.matrix(table), &positions));
        }
        if let Some(table) = encoder.token_type_embeddings {
            tables.push((weights.matrix(table), &batch.types));
        }
        let mut sum = self.backend.embed(&tables, self.spec.embedding_scale)?;
        if let (Some(adapters), Some((task, scale))) = (encoder.embedding_adapters, self.task) {
            for (LowRank { down, up }, ids) in adapters.iter().zip([&batch.ids, &batch.types]) {
                let low = self
                    .backend
                    .embed(&[(weights.matrix(down + task), ids)], 1.0)?;
                let added = self.plain(&low, up + task)?;
                sum = self
                    .backend
                    .add(&sum, &added, scale, Activation::Identity)?;
            }
        }
        let normed = match encoder.embedding_norm {
            Some(norm) => self.norm(&sum, None, norm)?,
            None => sum,
        };
        match encoder.embedding_projection {
            Some(linear) => self.linear(&normed, linear, Activation::Identity),
            None => Ok(normed),
        }
    }

    /// The vectors of all distances in sequences of up to `longest` tokens.
    fn positions(
        &self,
        own: Disentangled,
        table: RelativeTable,
        longest: usize,
    ) -> Result<(B::Tensor, Distances)> {
        let (rows, distances) = own.distances(longest);
        let rows: Vec<u32> = rows.collect();
        let tables = [(self.weights.matrix(table.table), &rows[..])];
        let vectors = self.backend.embed(&tables, 1.0)?;
        let vectors = match table.norm {
            Some(norm) => self.norm(&vectors, None, norm)?,
            None => vectors,
        };
        Ok((vectors, distances))
    }

    /// A block with its residual connection and norms: `after(x + branch(block(before(x))))`
    fn around(
        &self,
        x: &B::Tensor,
        norms: Norms,
        block: impl FnOnce(&B::Tensor) -> Result<B::Tensor>,
    ) -> Result<B::Tensor> {
        let mut output = match norms.before {
            Some(norm) => block(&self.norm(x, None, norm)?)?,
            None => block(x)?,
        };
        if let Some(norm) = norms.branch {
            output = self.norm(&output, norms.branch_adds.then_some(x), norm)?;
        }
        match norms.after {
            Some(norm) => self.norm(&output, Some(x), norm),
            None => self.backend.add(&output, x, 1.0, Activation::Identity),
        }
    }

    fn attention(&self, x: &B::Tensor, index: usize, layer: &Layer) -> Result<B::Tensor> {
        let qkv = match layer.qkv {
            Qkv::One(linear) => self.linear(x, linear, Activation::Identity)?,
            Qkv::Normed { products, norms } => {
                let [query, key, value] =
                    products.map(|linear| self.linear(x, linear, Activation::Identity));
                let [query, key] = [(query?, norms[0]), (key?, norms[1])]
                    .map(|(x, norm)| self.norm(&x, None, norm));
                self.backend.concatenate(&[&query?, &key?, &value?])?
            }
        };
        let how = self.spec.layers[index];
        let rotary = how.rope.and_then(|rope| {
            let mut rotaries = self.rotaries.iter();
            rotaries
                .find(|(known, _)| *known == rope)
                .map(|(_, rotary)| rotary)
        });
        let attention = Attention {
            heads: self.spec.heads,
            scale: self.spec.attention_scale,
            cap: self.spec.attention_cap,
            mask: how.mask,
            head_norms: layer
                .head_norms
                .map(|norms| norms.map(|norm| self.parameters(norm))),
            rotary,
            bias: self.bias.as_ref(),
            keys: self.keys,
        };
        let context = match (&self.positions, layer.qkv) {
            (Some(positions), Qkv::One(linear)) => {
                let (vectors, distances) = &**positions;
                let rows = self.linear(vectors, linear, Activation::Identity)?;
                let positions = (&rows, distances);
                let backend = self.backend;
                backend.disentangled(&qkv, self.offsets, attention, positions)?
            }
            _ => self.backend.attention(&qkv, self.offsets, attention)?,
        };
        self.linear(&context, layer.attention_output, Activation::Identity)
    }

    fn feed_forward(&self, x: &B::Tensor, layer: &Layer) -> Result<B::Tensor> {
        let activation = self.spec.activation;
        let (up, down) = match layer.ffn {
            FeedForward::Dense { up, down } => (up, down),
            FeedForward::Experts(own) => {
                let ExpertLayer {
                    experts: Experts { count, top },
                    router,
                    up,
                    down,
                    bias,
                } = *own;
                let weights = self.weights;
                let matrices =
                    |index| [up, down].map(|first: MatrixId| weights.matrix(first + index));
                let experts = backend::Experts {
                    router: weights.matrix(router),
                    matrices: (0..count).map(matrices).collect(),
                    top,
                    bias: weights.vector(bias),
                };
                return self.backend.experts(x, &experts, activation);
            }
        };
        if let Some(gate) = self.spec.gate {
            let both = self.linear(x, up, Activation::Identity)?;
            let inner = self.backend.gate(&both, gate, activation)?;
            return self.linear(&inner, down, Activation::Identity);
        }
        if self.task.is_some() {
            let inner = self.linear(x, up, activation)?;
            return self.linear(&inner, down, Activation::Identity);
        }
        let weights = [up, down].map(|linear| self.weights.parameters(linear));
        self.backend.feed_forward(x, weights, activation)
    }

    fn linear(&self, x: &B::Tensor, linear: Linear, activation: Activation) -> Result<B::Tensor> {
        let (Some(adapters), Some((task, scale))) = (linear.adapters, self.task) else {
            return self.weights.linear(self.backend, x, linear, activation);
        };
        let LowRank { down, up } = *adapters;
        let weights = self.weights;
        let product = weights.linear(self.backend, x, linear, Activation::Identity)?;
        let added = self.plain(&self.plain(x, down + task)?, up + task)?;
        self.backend.add(&product, &added, scale, activation)
    }

    /// `x · weightᵀ`
    fn plain(&self, x: &B::Tensor, weight: MatrixId) -> Result<B::Tensor> {
        let weight = self.weights.matrix(weight);
        self.backend.linear(x, weight, None, Activation::Identity)
    }

    fn norm(&self, x: &B::Tensor, residual: Option<&B::Tensor>, norm: Norm) -> Result<B::Tensor> {
        self.backend.norm(x, residual, self.parameters(norm))
    }

    fn parameters(&self, norm: Norm) -> backend::Norm<'_> {
        self.weights.norm(norm, self.spec.norm, self.spec.norm_eps)
    }
}

/// For each sequence, the weight of every vocabulary entry: `[sequences, vocab]`. The `[tokens,
/// vocab]` logits are never stored.
pub fn splade<B: Compute>(
    backend: &B,
    head: &MlmHead,
    splade: Splade,
    weights: &Weights<B>,
    states: &B::Tensor,
    batch: &Batch,
) -> Result<B::Tensor> {
    let x = weights.linear(backend, states, head.transform, head.activation)?;
    let norm = weights.norm(head.norm, head.norm_kind, head.norm_eps);
    let x = backend.norm(&x, None, norm)?;
    let bias = head.decoder.bias.map(|id| weights.vector(id));
    let decoder = weights.matrix(head.decoder.weight);
    backend.splade(&x, &batch.offsets, decoder, bias, splade)
}
