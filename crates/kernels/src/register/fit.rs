//! Least-squares transforms from point pairs.

use serde::{Deserialize, Serialize};
use stillframe_image::{Point, Transform};

/// Family of plane transforms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// Scale, rotation, shift, either handedness.
    Similarity,
    /// Any linear map and a shift.
    Affine,
    /// Any projective map.
    Homography,
}

/// The transform `target_from_source` that minimises `Σ weight · |T source − target|²` over
/// `pairs` of (source, target, weight).
pub fn fit_transform(_model: Model, _pairs: &[(Point, Point, f64)]) -> Option<Transform> {
    None
}
