//! What the machine has, how much of it may be used, and in which order work runs.
//!
//! Bytes and indices, never pixels.
#![forbid(unsafe_code)]
