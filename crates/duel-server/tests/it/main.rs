//! The server as a process: started, asked, killed, and audited.

mod durability;
mod harness;
mod lifecycle;
mod maintenance;
