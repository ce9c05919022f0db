//! The generic cache, on paused time.

mod bounds;
mod common;
mod flight;
mod invalidation;
mod life;
mod model;
mod refresh;
mod stale;
mod threads;
