//! Pooling modes, with the names that they have in files and on the wire.

use crate::error::{Error, Result};

kernel_enum! {
    /// How the token states of a sequence become one vector: sentence-transformers' pooling modes.
    pub enum Pooling {
        /// State of the first token.
        Cls = 0,
        /// Element-wise maximum.
        Max = 1,
        /// Arithmetic mean.
        Mean = 2,
        /// Sum divided by the square root of the number of tokens.
        MeanSqrtLen = 3,
        /// Mean weighted by position, with weight 1 for the first token (SGPT, Muennighoff 2022).
        WeightedMean = 4,
        /// State of the last token.
        LastToken = 5,
    }
}

/// Names that transformers.js has for some modes.
const ALIASES: [(&str, Pooling); 3] = [
    ("first_token", Pooling::Cls),
    ("last_token", Pooling::LastToken),
    ("eos", Pooling::LastToken),
];

/// A pooling mode and its names.
pub struct PoolingMode {
    /// The mode.
    pub pooling: Pooling,
    /// Value of `pooling_mode` in sentence-transformers' files.
    pub name: &'static str,
    /// The flag of older files that selects it.
    pub flag: &'static str,
    /// Name in text-embeddings-inference's API.
    pub tei: &'static str,
}

impl Pooling {
    /// The mode's names.
    pub fn mode(self) -> &'static PoolingMode {
        // In the order of the enum.
        &Self::MODES[self as usize]
    }

    /// The mode that a caller names, as sentence-transformers or transformers.js call it.
    pub fn from_name(name: &str) -> Result<Self> {
        let modes = Self::MODES.iter().map(|mode| (mode.name, mode.pooling));
        let mut all = modes.chain(ALIASES);
        let found = all.find(|(known, _)| *known == name).map(|(_, mode)| mode);
        found.ok_or_else(|| {
            let known: Vec<&str> = Self::MODES.iter().map(|mode| mode.name).collect();
            let known = known.join(", ");
            Error::input(
                "pooling",
                format!("pooling is {name:?}; it must be one of {known}"),
            )
        })
    }

    /// The modes of a list of names. The results of several modes are concatenated.
    pub fn list<S: AsRef<str>>(names: &[S]) -> Result<Vec<Self>> {
        let mut modes = Vec::new();
        for name in names {
            let name = name.as_ref();
            let mode = Self::from_name(name)?;
            if modes.contains(&mode) {
                let reason = format!("pooling has {name:?} twice");
                return Err(Error::input("pooling", reason));
            }
            modes.push(mode);
        }
        if modes.is_empty() {
            return Err(Error::input(
                "pooling",
                "pooling is an empty list; name a mode",
            ));
        }
        Ok(modes)
    }

    /// All modes, in the order of the enum.
    pub const MODES: &'static [PoolingMode] = &[
        PoolingMode {
            pooling: Self::Cls,
            name: "cls",
            flag: "pooling_mode_cls_token",
            tei: "cls",
        },
        PoolingMode {
            pooling: Self::Max,
            name: "max",
            flag: "pooling_mode_max_tokens",
            tei: "max",
        },
        PoolingMode {
            pooling: Self::Mean,
            name: "mean",
            flag: "pooling_mode_mean_tokens",
            tei: "mean",
        },
        PoolingMode {
            pooling: Self::MeanSqrtLen,
            name: "mean_sqrt_len_tokens",
            flag: "pooling_mode_mean_sqrt_len_tokens",
            tei: "mean_sqrt_len",
        },
        PoolingMode {
            pooling: Self::WeightedMean,
            name: "weightedmean",
            flag: "pooling_mode_weightedmean_tokens",
            tei: "weighted_mean",
        },
        PoolingMode {
            pooling: Self::LastToken,
            name: "lasttoken",
            flag: "pooling_mode_lasttoken",
            tei: "last_token",
        },
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_in_the_order_of_the_enum() {
        for (index, mode) in Pooling::MODES.iter().enumerate() {
            assert_eq!(mode.pooling as usize, index, "{}", mode.name);
        }
        assert_eq!(Pooling::LastToken as usize + 1, Pooling::MODES.len());
    }
}
