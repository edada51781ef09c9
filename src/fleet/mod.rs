//! The pure core: what the keeper knows and how it decides. No async, no input or output, no clock, no global random
//! numbers, no logging; `now` and random bits are arguments.

pub mod breaker;
pub mod condition;
pub mod journal;
pub mod name;
pub mod notice;
pub mod offer;
pub mod policy;
pub mod probe;
pub mod provider;
pub mod query;
pub mod units;
