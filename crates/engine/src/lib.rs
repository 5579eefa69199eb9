//! The stillframe pipelines: recipes, plans, units, reports. The only place where pixels, files
//! and workers meet.
#![forbid(unsafe_code)]

pub mod recipe;
