//! The only owner of mutable fleet state, and the only place that awaits effects.

pub mod outbox;
