//! The pure core: what the keeper knows and how it decides. No async, no input or output, no clock, no global random
//! numbers, no logging; `now` and random bits are arguments.

pub mod address;
pub mod apply;
pub mod bid;
pub mod bill;
pub mod breaker;
pub mod cadence;
pub mod claim;
pub mod condition;
pub mod culprit;
pub mod event;
pub mod forecast;
pub mod guard;
pub mod health;
pub mod journal;
pub mod lateness;
pub mod ledger;
pub mod memory;
pub mod name;
pub mod notice;
pub mod offer;
pub mod plan;
pub(crate) mod planted;
pub mod policy;
pub mod probe;
pub mod provider;
pub mod query;
pub mod release;
pub mod state;
pub mod step;
pub mod tell;
pub mod timeline;
pub mod units;
pub mod view;
pub mod watch;
pub mod why;
