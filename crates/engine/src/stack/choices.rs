//! The recipe's choices in the words of the kernels.

use stillframe_image::CfaPattern;
use stillframe_kernels::combine::{Combination, Rejection, RejectionMethod};
use stillframe_kernels::warp::WarpKernel;

use super::combine::{ColourMode, Resample};
use crate::recipe::{self, ColourMethod, Kernel, RejectionRecipe, StackRecipe};

fn kernel(recipe: &StackRecipe) -> WarpKernel {
    match recipe.resampling.kernel {
        Kernel::Lanczos3 => WarpKernel::Lanczos3,
        Kernel::Bicubic => WarpKernel::Bicubic,
        Kernel::Bilinear => WarpKernel::Bilinear,
        Kernel::Nearest => WarpKernel::Nearest,
    }
}

/// Which samples of a pixel are left out.
pub(crate) fn rejection(r: &RejectionRecipe) -> Rejection {
    Rejection {
        method: match r.method {
            recipe::RejectionMethod::None => RejectionMethod::None,
            recipe::RejectionMethod::KappaSigma => RejectionMethod::KappaSigma,
            recipe::RejectionMethod::WinsorizedSigma => RejectionMethod::WinsorizedSigma,
            recipe::RejectionMethod::LinearFit => RejectionMethod::LinearFit,
            recipe::RejectionMethod::Median => RejectionMethod::Median,
        },
        low: r.low as f32,
        high: r.high as f32,
        iterations: r.iterations as u32,
        min_fraction: r.min_fraction as f32,
    }
}

/// How colours come about and how samples get onto the canvas, for a burst of `n` frames.
pub(super) fn resampling(
    recipe: &StackRecipe,
    n: usize,
    cfa: Option<CfaPattern>,
) -> (ColourMode, Resample) {
    let few = n < recipe.colour.min_frames_for_drizzle;
    let colour = match (cfa, recipe.colour.method) {
        (None, _) => ColourMode::Planes,
        (Some(cfa), ColourMethod::CfaDrizzle) => ColourMode::Mosaic(cfa),
        (Some(cfa), ColourMethod::Auto) if !few => ColourMode::Mosaic(cfa),
        (Some(cfa), ColourMethod::Auto | ColourMethod::Demosaic) => ColourMode::Demosaic(cfa),
    };
    let resample = match (colour, &recipe.drizzle, recipe.colour.pixfrac) {
        (_, Some(d), _) => Resample::Drizzle { pixfrac: d.pixfrac },
        (ColourMode::Mosaic(_), None, Some(pixfrac)) => Resample::Drizzle { pixfrac },
        (_, None, _) => Resample::Warp { kernel: kernel(recipe) },
    };
    (colour, resample)
}

/// How the samples of a pixel become one value.
pub(super) fn combination(recipe: &StackRecipe) -> Combination {
    match recipe.combination {
        recipe::Combination::Mean => Combination::Mean,
        recipe::Combination::Median => Combination::Median,
    }
}
