//! Pure functions on planes and slices. No I/O, no threads, no clock: a kernel is single-threaded,
//! and the planner makes smaller units where a frame is too coarse a one.
#![forbid(unsafe_code)]

pub mod combine;
pub mod normalise;
pub mod ops;
pub mod register;
pub mod reproject;
pub mod warp;
