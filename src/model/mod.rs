//! From a model's files to vectors. [`load`] reads the files: `config.json` by way of [`families`]
//! into a `Spec` and a layout, then the weights as they stream in. [`transformer`] is the forward
//! pass, which the `Spec` describes as data, and its heads. [`run`] does the work of a call in
//! steps. [`embedder`] is the facade.

pub mod embedder;
pub mod families;
pub mod info;
pub mod kind;
pub mod load;
pub mod loaded;
pub mod run;
pub mod transformer;
