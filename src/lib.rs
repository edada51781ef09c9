//! The keeper as a library: see `main.rs` for the binary.
