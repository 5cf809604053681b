//! How one input becomes tokens.

/// Which end of a text is cut off if the text is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Direction {
    /// As the model's files say. The default is the end.
    #[default]
    #[serde(skip)]
    Model,
    /// The beginning is cut off.
    #[serde(alias = "Left")]
    Left,
    /// The end is cut off.
    #[serde(alias = "Right")]
    Right,
}

/// How one input becomes tokens.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Text put in front.
    pub prompt: &'a str,
    /// Whether pooling leaves the prompt out.
    pub skip_prompt: bool,
    /// The most tokens, special ones included.
    pub limit: usize,
    /// Whether a longer input is cut; otherwise it is an error.
    pub truncate: bool,
    /// Which end is cut.
    pub direction: Direction,
}
