//! The seam between the two builds of this crate.
//!
//! The full build (feature `full`, the default) has everything. The common build is what most pages
//! need: it lacks GPUs, and whatever reads weights that are neither safetensors nor saved by us.
//! The npm package downloads the full build only where it is needed (docs/design/package.md).
//!
//! A part that only the full build has is a value in a [`Full`]. In the common build that type has
//! no values, so the linker drops all code that takes one, and [`Full::new`] returns
//! [`Error::NeedsFullBuild`]. Besides, only few places depend on the feature: the GPU backend
//! (`backend/no_gpu.rs` stands in for it), the list of `weights::quantized`, the `OpenAPI` document
//! of `api`, and the mark of the full build in `web`.

use std::ops::{Deref, DerefMut};

use crate::error::{Error, Result};

/// Whether this is the full build.
pub const IS_FULL: bool = cfg!(feature = "full");

/// A value that only the full build can have.
#[cfg(feature = "full")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full<T>(T);

/// A value that only the full build can have: this is not it.
#[cfg(not(feature = "full"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full<T>(std::convert::Infallible, std::marker::PhantomData<T>);

impl<T> Full<T> {
    /// The value that `make` returns. `what` says for the error what the common build lacks.
    #[expect(unused_variables, reason = "each build uses one of the two")]
    #[cfg_attr(
        feature = "full",
        expect(clippy::unnecessary_wraps, reason = "the common build errors")
    )]
    pub fn new(what: &str, make: impl FnOnce() -> T) -> Result<Self> {
        #[cfg(feature = "full")]
        return Ok(Self(make()));
        #[cfg(not(feature = "full"))]
        return Err(lacking(what));
    }
}

impl<T> Full<T> {
    /// What `make` makes of the value.
    #[cfg_attr(
        not(feature = "full"),
        expect(unused_variables, reason = "there is no value")
    )]
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Full<U> {
        #[cfg(feature = "full")]
        return Full(make(self.0));
        #[cfg(not(feature = "full"))]
        match self.0 {}
    }
}

impl<T> Full<Result<T>> {
    /// The value, unless it is an error.
    pub fn transposed(self) -> Result<Full<T>> {
        #[cfg(feature = "full")]
        return self.0.map(Full);
        #[cfg(not(feature = "full"))]
        match self.0 {}
    }
}

impl<T> Deref for Full<T> {
    type Target = T;

    fn deref(&self) -> &T {
        #[cfg(feature = "full")]
        return &self.0;
        #[cfg(not(feature = "full"))]
        match self.0 {}
    }
}

impl<T> DerefMut for Full<T> {
    fn deref_mut(&mut self) -> &mut T {
        #[cfg(feature = "full")]
        return &mut self.0;
        #[cfg(not(feature = "full"))]
        match self.0 {}
    }
}

/// Errors in the common build. `what` says what it lacks. It is inlined, so that what comes after
/// it is dropped there.
#[inline(always)]
pub fn need(what: &str) -> Result<()> {
    if IS_FULL { Ok(()) } else { Err(lacking(what)) }
}

fn lacking(what: &str) -> Error {
    Error::NeedsFullBuild(what.to_owned())
}
