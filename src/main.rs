//! vast-keeper, the command.

fn main() {}
