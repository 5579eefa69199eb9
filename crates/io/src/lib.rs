//! Sources that read a rectangle of a frame; sinks that appear whole or not at all.
#![forbid(unsafe_code)]
