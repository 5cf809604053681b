//! How much of a model to download.

use crate::error::{Error, Result};

/// Which weight file of a repository to download, if the caller names none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Download {
    /// The smallest one that loses nothing: in 16 bits, unless the dtype is f32.
    #[default]
    Auto,
    /// One in 8 bits, if there is any. Vectors are less exact: `docs/measurements.md` says by how
    /// much.
    Small,
}

impl Download {
    /// The choice of that name: `auto` or `small`.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "small" => Ok(Self::Small),
            _ => {
                let reason = format!("download is {name:?}; it must be \"auto\" or \"small\"");
                Err(Error::input("download", reason))
            }
        }
    }
}
