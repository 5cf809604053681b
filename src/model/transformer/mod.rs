//! One transformer, described by data: a [`spec`] says what is computed, a [`layout`] where its weights are, [`forward`]
//! runs it over any backend, and [`heads`] turn token states into vectors. A
//! [`static_table`] has vectors of tokens instead.

pub(in crate::model) mod candle;
pub mod forward;
pub mod heads;
pub mod layout;
pub(in crate::model) mod positions;
pub mod rope;
pub mod route;
pub mod spec;
pub mod static_table;
