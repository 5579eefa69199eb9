//! Finds the transform between two star lists by their patterns.

use serde::{Deserialize, Serialize};
use stillframe_image::{Point, Transform};
use thiserror::Error;

use super::fit::Model;

/// A star as the matcher needs it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchStar {
    /// Centroid in pixels.
    pub position: Point,
    /// Standard error of the centroid per axis, pixels.
    pub sigma_px: f32,
    /// Brightness in any linear unit; only its order counts.
    pub flux: f32,
}

/// What the matcher may assume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchParams {
    /// Largest scale change in either direction: 0.2 allows 1/1.2 to 1.2.
    pub max_scale_change: f64,
    /// Displacement of a star from a plane similarity that is still a match, pixels.
    pub tolerance_px: f64,
    /// The richest model that may be chosen.
    pub max_model: Model,
    /// Expected number of wrong transforms as good as the accepted one, in one call.
    pub max_false_alarms: f64,
}

impl Default for MatchParams {
    fn default() -> Self {
        Self {
            max_scale_change: 0.2,
            tolerance_px: 2.5,
            max_model: Model::Homography,
            max_false_alarms: 1e-5,
        }
    }
}

/// How a frame lies on the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct StarMatch {
    /// Takes positions in the frame to positions in the reference.
    pub ref_from_frame: Transform,
    /// The family that the data support.
    pub model: Model,
    /// Matched stars: indices into the reference list and the frame list.
    pub pairs: Vec<(u32, u32)>,
    /// Root mean square distance of the matched stars after the transform, reference pixels.
    pub rms_px: f64,
    /// Whether the frame is a mirror image of the reference.
    pub mirrored: bool,
}

/// Why no transform was found.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum MatchError {
    /// A list is too short.
    #[error(
        "{found} stars in the {list}, at least {needed} are needed to match; lower the detection threshold?"
    )]
    TooFewStars {
        /// Which list.
        list: &'static str,
        /// Its stars.
        found: usize,
        /// The smallest number that can be matched.
        needed: usize,
    },
    /// No transform agrees with more stars than chance would.
    #[error(
        "no transform agrees with more stars than chance would: the best matches {matched} of {stars}"
    )]
    NoConsensus {
        /// Stars matched by the best transform found.
        matched: usize,
        /// Stars that could have matched.
        stars: usize,
    },
}

/// The reference's star patterns, built once for many frames.
#[derive(Clone, Debug)]
pub struct ReferenceIndex {}

impl ReferenceIndex {
    /// The index of `stars`.
    pub fn new(_stars: &[MatchStar]) -> Self {
        Self {}
    }

    /// How `frame` lies on the reference.
    ///
    /// # Errors
    /// See [`MatchError`].
    pub fn match_frame(
        &self,
        frame: &[MatchStar],
        _params: &MatchParams,
    ) -> Result<StarMatch, MatchError> {
        Err(MatchError::NoConsensus { matched: 0, stars: frame.len() })
    }
}

/// How `frame` lies on `reference`.
///
/// # Errors
/// See [`MatchError`].
pub fn match_stars(
    reference: &[MatchStar],
    frame: &[MatchStar],
    params: &MatchParams,
) -> Result<StarMatch, MatchError> {
    ReferenceIndex::new(reference).match_frame(frame, params)
}
