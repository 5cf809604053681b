//! A transformer as data: a [`spec`] says what is computed, a [`layout`] where the weights are,
//! [`forward`] computes it on any backend, and [`heads`] turn token states into vectors. A
//! [`route`] has all of these. A [`static_table`] has vectors of tokens instead of a transformer.

pub mod classifier;
pub mod forward;
pub mod heads;
pub mod late;
pub mod layout;
pub(in crate::model) mod positions;
pub mod rope;
pub mod route;
pub mod spec;
pub mod static_table;
