//! The `stillframe` command.
#![forbid(unsafe_code)]

fn main() {}
