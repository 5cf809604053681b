//! Names of pooling modes.

use crate::backend::Pooling;
use crate::error::{Error, Result};

/// Name, flag in older files of sentence-transformers, and mode.
pub const MODES: [(&str, &str, Pooling); 6] = [
    ("cls", "pooling_mode_cls_token", Pooling::Cls),
    ("max", "pooling_mode_max_tokens", Pooling::Max),
    ("mean", "pooling_mode_mean_tokens", Pooling::Mean),
    (
        "mean_sqrt_len_tokens",
        "pooling_mode_mean_sqrt_len_tokens",
        Pooling::MeanSqrtLen,
    ),
    (
        "weightedmean",
        "pooling_mode_weightedmean_tokens",
        Pooling::WeightedMean,
    ),
    ("lasttoken", "pooling_mode_lasttoken", Pooling::LastToken),
];

/// Names that transformers.js has for the same modes.
const OTHERS: [(&str, Pooling); 3] = [
    ("first_token", Pooling::Cls),
    ("last_token", Pooling::LastToken),
    ("eos", Pooling::LastToken),
];

/// The mode that a caller names, as sentence-transformers or transformers.js call it.
pub fn mode(name: &str) -> Result<Pooling> {
    let modes = MODES.iter().map(|(name, _, mode)| (*name, *mode));
    let mut all = modes.chain(OTHERS);
    let found = all.find(|(known, _)| *known == name).map(|(_, mode)| mode);
    found.ok_or_else(|| {
        let known = MODES.map(|(name, ..)| name).join(", ");
        Error::input(
            "pooling",
            format!("pooling is {name:?}; it must be one of {known}"),
        )
    })
}

/// Checks a list of modes, whose results are concatenated.
pub fn modes<S: AsRef<str>>(names: &[S]) -> Result<Vec<Pooling>> {
    let mut modes = Vec::new();
    for name in names {
        let name = name.as_ref();
        let mode = mode(name)?;
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

/// sentence-transformers' name of a mode.
pub fn name(mode: Pooling) -> &'static str {
    let found = MODES.iter().find(|(.., known)| *known == mode);
    found.map_or("", |(name, ..)| name)
}
