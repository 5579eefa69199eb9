//! Every key of a tile_compile configuration of the v4 period: type, range, and what becomes of it.

use serde_json::Value;

use crate::recipe::problem::Problem;

/// A key of tile_compile.
pub(super) struct ForeignKey {
    pub(super) path: &'static str,
    pub(super) kind: ForeignKind,
    pub(super) fate: Fate,
}

/// What its value may be.
#[derive(Clone, Copy)]
pub(super) enum ForeignKind {
    Flag,
    /// A whole number in this closed range.
    Whole(u64, u64),
    /// A number in this closed range.
    Real(f64, f64),
    /// One of these words; any text without words.
    Word(&'static [&'static str]),
    /// Two numbers.
    Pair,
    /// A list of words.
    List,
}

/// What becomes of its value.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// It is the value of this key of the recipe.
    To(&'static str),
    /// It has no effect, for this reason.
    Ignored(&'static str),
    /// `translate` looks at it, together with others.
    Translated,
}

use Fate::{Ignored, To, Translated};
use ForeignKind::{Flag, List, Pair, Real, Whole, Word};

const fn key(path: &'static str, kind: ForeignKind, fate: Fate) -> ForeignKey {
    ForeignKey { path, kind, fate }
}

const ANY: u64 = u64::MAX;
const INF: f64 = f64::MAX;
const PROBE: Fate = Ignored("refinement measures where tiles differ instead of probing");
const ALWAYS: Fate = Ignored("the report and registration.json always hold it");
const MEMORY: Fate = Ignored("give --memory on the command line; it is kept, not watched");
const PATHS: Fate = Ignored("give --bias, --dark, --flat on the command line");
const DENOISE: Fate = Ignored("denoising is not linear, and is left to later programs");
const FILES: Fate = Ignored("nothing is read from or written to intermediate files");
const SHOWN: Fate = Ignored("the report shows the figures, and no threshold on them");
const L_SHARES: Fate = Ignored("the shares in the local quality are those of the v4 documents");

/// In the order of the reference.
pub(super) const KEYS: &[ForeignKey] = &[
    key("v4.iterations", Whole(1, 10), To("field.iterations")),
    key("v4.beta", Real(0.0, 20.0), To("weights.registration_beta")),
    key("v4.min_valid_tile_fraction", Real(0.0, 1.0), To("field.tile.min_valid_fraction")),
    key("v4.parallel_tiles", Whole(1, ANY), Translated),
    key("v4.debug_tile_registration", Flag, ALWAYS),
    key("v4.phase6_io.mode", Word(&["roi", "lru", "full"]), MEMORY),
    key("v4.phase6_io.lru_capacity", Whole(0, 512), MEMORY),
    key("v4.adaptive_tiles.enabled", Flag, Translated),
    key("v4.adaptive_tiles.max_refine_passes", Whole(0, 5), Translated),
    key(
        "v4.adaptive_tiles.refine_variance_threshold",
        Real(0.0, 10.0),
        To("field.refine.variance_px2"),
    ),
    key("v4.adaptive_tiles.min_tile_size_px", Whole(32, 512), To("field.refine.min_px")),
    key("v4.adaptive_tiles.use_warp_probe", Flag, PROBE),
    key("v4.adaptive_tiles.use_hierarchical", Flag, PROBE),
    key("v4.adaptive_tiles.initial_tile_size", Whole(64, 512), Translated),
    key("v4.adaptive_tiles.probe_window", Whole(64, 512), PROBE),
    key("v4.adaptive_tiles.num_probe_frames", Whole(3, 10), PROBE),
    key("v4.adaptive_tiles.gradient_sensitivity", Real(0.1, 10.0), PROBE),
    key("v4.adaptive_tiles.split_gradient_threshold", Real(0.0, 1.0), PROBE),
    key("v4.adaptive_tiles.hierarchical_max_depth", Whole(1, 5), PROBE),
    key("v4.convergence.enabled", Flag, Translated),
    key("v4.convergence.epsilon_rel", Real(1e-6, 1e-1), Translated),
    key("v4.memory_limits.rss_warn_mb", Whole(512, ANY), MEMORY),
    key("v4.memory_limits.rss_abort_mb", Whole(1024, ANY), MEMORY),
    key("v4.diagnostics.enabled", Flag, ALWAYS),
    key("v4.diagnostics.warp_field", Flag, ALWAYS),
    key("v4.diagnostics.tile_invalid_map", Flag, ALWAYS),
    key("v4.diagnostics.warp_variance_hist", Flag, ALWAYS),
    key("registration.mode", Word(&["local_tiles"]), Ignored("it is the only mode of v4")),
    key("registration.local_tiles.ecc_cc_min", Real(0.0, 1.0), To("field.min_correlation")),
    key("registration.local_tiles.min_valid_frames", Whole(1, ANY), To("field.tile.min_frames")),
    key("registration.local_tiles.max_warp_delta_px", Real(0.0, 10.0), To("field.max_delta_px")),
    key(
        "registration.local_tiles.temporal_smoothing_window",
        Whole(3, 51),
        To("field.temporal_window"),
    ),
    key(
        "registration.local_tiles.variance_window_sigma",
        Real(0.5, 10.0),
        To("reconstruction.variance_window_sigma_px"),
    ),
    key(
        "registration.local_tiles.allow_rotation",
        Flag,
        Ignored("the gauge turns frames; tiles shift"),
    ),
    key("registration.local_tiles.max_tile_size", Whole(64, 4096), Translated),
    key("registration.local_tiles.registration_quality_beta", Real(0.0, 20.0), Translated),
    key("registration.local_tiles.max_iterations", Whole(1, 10), Translated),
    key(
        "registration.local_tiles.temporal_smoothing_polyorder",
        Whole(0, 10),
        Ignored("v4 smooths by the running median"),
    ),
    key("registration.local_tiles.model", Word(&["translation"]), Ignored("tiles shift")),
    key(
        "registration.local_tiles.reference_method",
        Word(&["median_time", "min_gradient"]),
        Ignored("the first reference comes from the gauge"),
    ),
    key(
        "registration.local_tiles.enable_recursive_refinement",
        Flag,
        Ignored("superseded by v4.adaptive_tiles"),
    ),
    key(
        "registration.local_tiles.refinement_max_depth",
        Whole(0, 10),
        Ignored("superseded by v4.adaptive_tiles"),
    ),
    key(
        "registration.local_tiles.refinement_variance_threshold",
        Real(0.0, 100.0),
        Ignored("superseded by v4.adaptive_tiles"),
    ),
    key("pipeline.mode", Word(&["production", "test"]), Ignored("there is one mode")),
    key(
        "pipeline.abort_on_fail",
        Flag,
        Ignored("input.max_lost_fraction says how many frames may fail"),
    ),
    key("data.image_width", Whole(1, ANY), Ignored("the size comes from the files")),
    key("data.image_height", Whole(1, ANY), Ignored("the size comes from the files")),
    key("data.frames_min", Whole(1, ANY), To("input.min_frames")),
    key("data.frames_target", Whole(0, ANY), Ignored("every frame is analysed")),
    key("data.color_mode", Word(&["OSC", "MONO"]), Translated),
    key("data.bayer_pattern", Word(&["RGGB", "BGGR", "GBRG", "GRBG"]), Translated),
    key("data.linear_required", Flag, Translated),
    key("linearity.enabled", Flag, Translated),
    key("linearity.max_frames", Whole(1, ANY), Ignored("every frame is tested")),
    key(
        "linearity.min_overall_linearity",
        Real(0.0, 1.0),
        Ignored("the test looks for a tone curve, and has no score"),
    ),
    key(
        "linearity.strictness",
        Word(&["strict", "moderate", "permissive"]),
        Ignored("the test looks for a tone curve, and has no levels"),
    ),
    key("calibration.use_bias", Flag, PATHS),
    key("calibration.use_dark", Flag, PATHS),
    key("calibration.use_flat", Flag, PATHS),
    key("calibration.bias_use_master", Flag, PATHS),
    key("calibration.dark_use_master", Flag, PATHS),
    key("calibration.flat_use_master", Flag, PATHS),
    key("calibration.dark_auto_select", Flag, Ignored("darks are always matched to the exposure")),
    key("calibration.dark_match_exposure_tolerance_percent", Real(0.0, 100.0), Translated),
    key("calibration.dark_match_use_temp", Flag, Translated),
    key("calibration.dark_match_temp_tolerance_c", Real(0.0, 100.0), Translated),
    key("calibration.bias_dir", Word(&[]), PATHS),
    key("calibration.darks_dir", Word(&[]), PATHS),
    key("calibration.flats_dir", Word(&[]), PATHS),
    key("calibration.bias_master", Word(&[]), PATHS),
    key("calibration.dark_master", Word(&[]), PATHS),
    key("calibration.flat_master", Word(&[]), PATHS),
    key("calibration.pattern", Word(&[]), PATHS),
    key("assumptions.frames_min", Whole(1, ANY), To("gates.frames_min")),
    key("assumptions.frames_optimal", Whole(1, ANY), Ignored("no step depends on it")),
    key("assumptions.frames_reduced_threshold", Whole(1, ANY), To("gates.frames_reduced")),
    key(
        "assumptions.exposure_time_tolerance_percent",
        Real(0.0, INF),
        Ignored("frames are scaled by their stars, whatever their exposure"),
    ),
    key("assumptions.warp_variance_warn", Real(0.0, INF), SHOWN),
    key("assumptions.warp_variance_max", Real(0.0, INF), To("field.tile.max_variance_px2")),
    key("assumptions.elongation_warn", Real(0.0, 1.0), SHOWN),
    key("assumptions.elongation_max", Real(0.0, 1.0), SHOWN),
    key(
        "assumptions.tracking_error_max_px",
        Real(0.0, INF),
        Ignored("the gauge follows any shift"),
    ),
    key(
        "assumptions.reduced_mode_skip_clustering",
        Flag,
        Ignored("reduced mode always skips the clusters"),
    ),
    key(
        "assumptions.reduced_mode_cluster_range",
        Pair,
        Ignored("reduced mode always skips the clusters"),
    ),
    key("normalization.enabled", Flag, Translated),
    key(
        "normalization.mode",
        Word(&["background", "median"]),
        Ignored("B is the masked background in both"),
    ),
    key("normalization.per_channel", Flag, Ignored("each colour has its own B")),
    key("global_metrics.weights.background", Real(0.0, 1.0), To("weights.alpha")),
    key("global_metrics.weights.noise", Real(0.0, 1.0), To("weights.beta")),
    key("global_metrics.weights.gradient", Real(0.0, 1.0), To("weights.gamma")),
    key("global_metrics.clamp", Pair, Translated),
    key("global_metrics.adaptive_weights", Flag, Ignored("the shares are those given")),
    key("tile.size_factor", Whole(4, 256), To("field.tile.size_factor")),
    key("tile.min_size", Whole(16, 4096), To("field.tile.min_px")),
    key(
        "tile.max_divisor",
        Whole(1, ANY),
        Ignored("the largest tile is a number of pixels, field.tile.max_px"),
    ),
    key("tile.overlap_fraction", Real(0.0, 0.5), Translated),
    key(
        "tile.star_min_count",
        Whole(0, ANY),
        Ignored("the field's own uncertainty tells star-poor places"),
    ),
    key("local_metrics.clamp", Pair, Translated),
    key("local_metrics.star_mode.weights.fwhm", Real(0.0, 1.0), L_SHARES),
    key("local_metrics.star_mode.weights.roundness", Real(0.0, 1.0), L_SHARES),
    key("local_metrics.star_mode.weights.contrast", Real(0.0, 1.0), L_SHARES),
    key("local_metrics.structure_mode.background_weight", Real(0.0, 1.0), L_SHARES),
    key("local_metrics.structure_mode.metric_weight", Real(0.0, 1.0), L_SHARES),
    key("synthetic.weighting", Word(&["global", "tile_weighted"]), To("synthetic.weighting")),
    key("synthetic.frames_min", Whole(1, ANY), To("synthetic.frames_min")),
    key("synthetic.frames_max", Whole(1, ANY), To("synthetic.frames_max")),
    key("synthetic.clustering.mode", Word(&["state_vector"]), Ignored("it is the only mode")),
    key(
        "synthetic.clustering.vector",
        List,
        Ignored("the state vector has the six components of v4"),
    ),
    key("synthetic.clustering.cluster_count_range", Pair, Translated),
    key(
        "synthetic.clustering.k_selection",
        Word(&["auto", "fixed", "silhouette_auto"]),
        Ignored("K = clip(⌊N / 10⌋, range)"),
    ),
    key("synthetic.clustering.use_silhouette", Flag, Ignored("K = clip(⌊N / 10⌋, range)")),
    key(
        "synthetic.clustering.fallback_quantiles",
        Whole(1, ANY),
        To("synthetic.fallback_quantiles"),
    ),
    key("synthetic.auto_skip.enabled", Flag, To("synthetic.auto_skip.enabled")),
    key(
        "synthetic.auto_skip.min_eligible_clusters",
        Whole(1, ANY),
        To("synthetic.auto_skip.min_clusters"),
    ),
    key(
        "synthetic.auto_skip.min_cluster_weight_spread",
        Real(0.0, INF),
        To("synthetic.auto_skip.min_weight_spread"),
    ),
    key(
        "synthetic.auto_skip.min_cluster_quality_spread",
        Real(0.0, INF),
        To("synthetic.auto_skip.min_quality_spread"),
    ),
    key("reconstruction.weighting_function", Word(&["exponential"]), Ignored("it is the only one")),
    key("reconstruction.window_function", Word(&["hanning"]), Ignored("it is the only one")),
    key(
        "reconstruction.tile_rescale",
        Word(&["median_after_background_subtraction"]),
        Ignored("rescaling single tiles prints the tile pattern"),
    ),
    key("wiener_denoise.enabled", Flag, DENOISE),
    key("wiener_denoise.snr_threshold", Real(1.0, 20.0), DENOISE),
    key("wiener_denoise.q_min", Real(-3.0, 0.0), DENOISE),
    key("wiener_denoise.q_max", Real(-INF, INF), DENOISE),
    key("wiener_denoise.q_step", Real(0.0, INF), DENOISE),
    key("wiener_denoise.min_snr", Real(0.0, INF), DENOISE),
    key("wiener_denoise.max_iterations", Whole(0, ANY), DENOISE),
    key("debayer", Flag, Translated),
    key("stacking.method", Word(&["rej", "average"]), Translated),
    key("stacking.input_dir", Word(&[]), FILES),
    key("stacking.input_pattern", Word(&[]), FILES),
    key("stacking.output_file", Word(&[]), FILES),
    key("stacking.sigma_clip.sigma_low", Real(0.0, INF), To("rejection.low")),
    key("stacking.sigma_clip.sigma_high", Real(0.0, INF), To("rejection.high")),
    key("stacking.sigma_clip.max_iters", Whole(1, 20), To("rejection.iterations")),
    key("stacking.sigma_clip.min_fraction", Real(0.0, 1.0), To("rejection.min_fraction")),
    key("validation.min_fwhm_improvement_percent", Real(-INF, INF), SHOWN),
    key("validation.max_background_rms_increase_percent", Real(-INF, INF), SHOWN),
    key("validation.min_tile_weight_variance", Real(0.0, INF), SHOWN),
    key("validation.require_no_tile_pattern", Flag, SHOWN),
    key(
        "runtime_limits.tile_analysis_max_factor_vs_stack",
        Real(0.0, INF),
        Ignored("the plan is printed before the run"),
    ),
    key(
        "runtime_limits.hard_abort_hours",
        Real(0.0, INF),
        Ignored("an interrupted run can be resumed"),
    ),
];

/// Keys that exist only in versions after v4, by their beginning.
const LATER: &[&str] = &[
    "output.",
    "dithering.",
    "tile_denoise.",
    "chroma_denoise.",
    "astrometry.",
    "bge.",
    "pcc.",
    "assumptions.pipeline_profile",
    "global_metrics.weight_exponent_scale",
    "stacking.cluster_quality_weighting.",
    "stacking.output_stretch",
    "stacking.cosmetic_correction",
    "stacking.per_frame_cosmetic_correction",
    "runtime_limits.allow_emergency_mode",
    "runtime_limits.parallel_workers",
    "runtime_limits.memory_budget",
    "registration.engine",
    "registration.enable_star_pair_fallback",
    "registration.allow_rotation",
    "registration.star_",
    "registration.reject_",
];

/// Whether only versions after v4 have the key.
pub(super) fn later_version(path: &str) -> bool {
    LATER.iter().any(|start| path.starts_with(start))
}

/// What is wrong with `value` as the value of `key`.
pub(super) fn check_value(key: &ForeignKey, value: &Value) -> Option<Problem> {
    let within = |low: f64, high: f64| value.as_f64().is_some_and(|v| v >= low && v <= high);
    let (fits, needed) = match key.kind {
        Flag => (value.is_boolean(), "true or false".to_owned()),
        Whole(low, high) => (
            value.as_u64().is_some_and(|v| v >= low && v <= high),
            if high == ANY {
                format!("a whole number of at least {low}")
            } else {
                format!("a whole number from {low} to {high}")
            },
        ),
        Real(low, high) => (
            within(low, high),
            match (low == -INF, high == INF) {
                (true, _) => "a number".to_owned(),
                (false, true) => format!("a number of at least {low}"),
                (false, false) => format!("a number from {low} to {high}"),
            },
        ),
        Word(words) => (
            value.as_str().is_some_and(|v| words.is_empty() || words.contains(&v)),
            if words.is_empty() {
                "a text".to_owned()
            } else {
                format!("one of {}", words.join(", "))
            },
        ),
        Pair => (pair(value).is_some_and(|(low, high)| low <= high), "[low, high]".to_owned()),
        List => (value.is_array(), "a list".to_owned()),
    };
    let problem = || Problem::Value { key: key.path.to_owned(), found: value.to_string(), needed };
    (!fits).then(problem)
}

/// The two numbers of a pair.
pub(super) fn pair(value: &Value) -> Option<(f64, f64)> {
    match value.as_array()?.as_slice() {
        [low, high] => Some((low.as_f64()?, high.as_f64()?)),
        _ => None,
    }
}
