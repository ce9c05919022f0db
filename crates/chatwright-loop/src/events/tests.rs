mod client;
mod cursors;
mod faults;
mod follow;
mod laws;
mod resume;
mod snapshot;
mod world;
