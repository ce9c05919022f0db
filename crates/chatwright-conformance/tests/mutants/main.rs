//! The kit is tested by mutants: implementations that break one promise on purpose. Each must be caught by the clause of
//! that promise, and each clause must catch one.

mod blobs;
mod broken_blobs;
mod broken_bus;
mod broken_configs;
mod broken_debug;
mod broken_ledger;
mod broken_sessions;
mod broken_store;
mod bus;
mod caught;
mod chat_directory;
mod chat_store;
mod config_store;
mod debug_store;
mod debug_switches;
mod http_observer;
mod language_model;
mod ledger;
mod live_log;
mod model_resolver;
mod session_store;
mod small;
mod tool;
