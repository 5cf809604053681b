//! Finds the tensors that the model needs among the names in a weight file.

use std::collections::HashMap;

use crate::model::transformer::layout::{MatrixId, Slot, WantedTensor, WeightFile};
use crate::weights::TensorInfo;
use crate::weights::quantized::{self, Found, Quantization};

/// The names of a weight file's tensors. If the file is split into shards, those of all shards.
pub struct Names<'a> {
    /// Index of each tensor in its shard list, or in the file if there are no shards.
    all: HashMap<&'a str, usize>,
    /// Index of each tensor of this file.
    here: HashMap<&'a str, usize>,
    /// Name and path of each tensor, if the file is split into shards.
    shards: &'a [(String, String)],
    /// Path of this file.
    path: &'a str,
    /// What the config says about quantised matrices.
    quantization: &'a Quantization,
}

/// Where a tensor is.
pub enum Location<'a> {
    /// In this file, by index.
    Here(usize),
    /// In another shard.
    Elsewhere,
    /// In this shard by the index of shards, but not in fact.
    Missing(&'a str),
}

impl<'a> Names<'a> {
    /// The names in `tensors`, which are those of `file`, or of its shard at `path`.
    pub fn new(file: &'a WeightFile, path: &'a str, tensors: &'a [TensorInfo]) -> Self {
        let here = tensors.iter().map(|tensor| tensor.name.as_str());
        let here: HashMap<&str, usize> = here.zip(0..).collect();
        let shards = file.shards.iter().map(|(name, _)| name.as_str());
        Self {
            all: if file.shards.is_empty() {
                here.clone()
            } else {
                shards.zip(0..).collect()
            },
            here,
            shards: &file.shards,
            path,
            quantization: &file.quantization,
        }
    }

    /// The location of the tensor that has this index among all names.
    pub fn locate(&self, index: usize) -> Location<'a> {
        let Some((name, shard)) = self.shards.get(index) else {
            return Location::Here(index);
        };
        if shard != self.path {
            return Location::Elsewhere;
        }
        let here = self.here.get(name.as_str());
        here.map_or(Location::Missing(name), |index| Location::Here(*index))
    }

    /// Finds `prefix` + `name`, as one tensor or as the tensors of a quantised matrix.
    fn find(&self, prefix: &str, name: &str) -> Option<Place> {
        // Old BERT checkpoints have TensorFlow's names for the parameters of LayerNorm.
        let older = match name.rsplit_once('.') {
            Some((module, "weight")) => format!("{prefix}{module}.gamma"),
            Some((module, "bias")) => format!("{prefix}{module}.beta"),
            _ => String::new(),
        };
        let name = format!("{prefix}{name}");
        let at = |name: &str| self.all.get(name).copied();
        if let Some(found) = quantized::find(&name, self.quantization, at) {
            return Some(Place::Quantized(found));
        }
        at(&name).or_else(|| at(&older)).map(Place::Plain)
    }
}

/// The tensors that hold what is wanted, as indices among all names of the file.
pub enum Place {
    /// One tensor with values.
    Plain(usize),
    /// The tensors of a quantised matrix.
    Quantized(Found<usize>),
}

/// A tensor that the model needs, and where the file has it.
pub struct Match<'a> {
    /// What the model needs.
    pub wanted: &'a WantedTensor,
    /// The prefix of its name in the file.
    pub prefix: &'static str,
    /// Where it is.
    pub place: Place,
}

/// How the names of a file fit those that the model needs.
#[derive(Default)]
pub struct Matching<'a> {
    /// What was found.
    pub found: Vec<Match<'a>>,
    /// Matrices that are the same as another one: the matrix, and the one to use.
    pub tied: Vec<(MatrixId, MatrixId)>,
    /// Names that were not found.
    pub missing: Vec<&'a str>,
}

impl<'a> Matching<'a> {
    /// Matches names in the spelling that leaves the fewest missing.
    pub fn best(
        file: &WeightFile,
        names: &Names,
        wanted: &[&'a WantedTensor],
        tensors: &[TensorInfo],
    ) -> Self {
        let last = wanted.iter().filter_map(|wanted| wanted.spelling).max();
        let spellings = 0..=last.unwrap_or(0);
        let matchings = spellings.map(|spelling| Self::new(file, names, wanted, spelling));
        let best = matchings.min_by_key(|matching| matching.missing.len());
        let mut best = best.unwrap_or_default();
        if file.shards.is_empty() {
            best.tie(tensors);
        }
        best
    }

    fn new(file: &WeightFile, names: &Names, wanted: &[&'a WantedTensor], spelling: usize) -> Self {
        let mut matching = Self::default();
        let is_spelt = |wanted: &WantedTensor| wanted.spelling.is_none_or(|own| own == spelling);
        for wanted in wanted.iter().filter(|wanted| is_spelt(wanted)) {
            let found = file.prefixes.iter().find_map(|prefix| {
                let place = names.find(prefix, &wanted.name)?;
                Some(Match {
                    wanted,
                    prefix,
                    place,
                })
            });
            match (found, wanted.tied, wanted.slot) {
                (Some(found), ..) => matching.found.push(found),
                (None, Some(other), Slot::Rows { matrix, .. }) => {
                    matching.tied.push((matrix, other));
                }
                (None, ..) => matching.missing.push(&wanted.name),
            }
        }
        matching
    }

    /// Ties matrices that are the very same bytes of the file as the matrix that they may be tied
    /// to.
    fn tie(&mut self, tensors: &[TensorInfo]) {
        let bytes = |place: &Place| match place {
            Place::Plain(at) => Some(tensors[*at].same_as.unwrap_or(*at)),
            Place::Quantized(_) => None,
        };
        let found = self.found.iter();
        let all: Vec<(Slot, usize)> = found
            .filter_map(|found| Some((found.wanted.slot, bytes(&found.place)?)))
            .collect();
        let tied = &mut self.tied;
        self.found.retain(|found| {
            let (Some(other), Slot::Rows { matrix, .. }) = (found.wanted.tied, found.wanted.slot)
            else {
                return true;
            };
            let is_other =
                |slot: &Slot| matches!(slot, Slot::Rows { matrix, .. } if *matrix == other);
            let own = bytes(&found.place);
            let is_same = all
                .iter()
                .any(|(slot, bytes)| is_other(slot) && Some(*bytes) == own);
            if is_same {
                tied.push((matrix, other));
            }
            !is_same
        });
    }
}

/// Whether a tensor that the model does not use cannot change its vectors: heads for training,
/// buffers that follow from the config, and scales for activations and key-value caches, which are
/// not quantised here.
pub fn has_no_effect(file: &WeightFile, tensor: &str) -> bool {
    const BUFFERS: [&str; 10] = [
        "position_ids",
        "token_type_ids",
        "inv_freq",
        "masked_bias",
        "input_scale",
        "output_scale",
        "k_scale",
        "v_scale",
        "num_batches_tracked",
        "weight_format",
    ];
    let last = tensor.rsplit('.').next().unwrap_or_default();
    let mut rests = file
        .prefixes
        .iter()
        .filter_map(|prefix| tensor.strip_prefix(prefix));
    BUFFERS.contains(&last)
        || file.ignored == Some(tensor)
        || rests.any(|rest| file.unused.iter().any(|start| rest.starts_with(start)))
}

/// Whether a tensor belongs to a layer that the config does not have.
pub fn is_beyond_layers(file: &WeightFile, tensor: &str) -> bool {
    let Some((starts, count)) = &file.layers else {
        return false;
    };
    let number = |prefix: &str, start: &str| -> Option<usize> {
        let rest = tensor.strip_prefix(prefix)?.strip_prefix(start)?;
        rest.split_once('.')?.0.parse().ok()
    };
    file.prefixes
        .iter()
        .flat_map(|prefix| starts.iter().filter_map(move |start| number(prefix, start)))
        .any(|layer| layer >= *count)
}
