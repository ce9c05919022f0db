//! The kit is tested by mutants: implementations that break one promise on purpose. Each must be caught by the clause of
//! that promise, and each clause must catch one.

mod broken_store;
mod caught;
mod chat_store;
