#![doc = include_str!("README.md")]

/// The code of the project's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
