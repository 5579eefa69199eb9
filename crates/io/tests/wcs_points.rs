//! Positions of real headers by astropy (wcslib), where they are at hand (see `shared_data.rs`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stillframe_image::{Header, Point};
use stillframe_io::fits::{FitsSource, OpenOptions, header_from_text};
use stillframe_io::wcs::{SkyPoint, Wcs, WcsError};

fn data() -> Option<PathBuf> {
    let root = match std::env::var_os("STILLFRAME_SHARED") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
    };
    let folder = root.join("data");
    if !folder.join("reference/wcs_points_astropy").is_dir() {
        eprintln!("SKIPPED: {} has no reference points", folder.display());
        return None;
    }
    Some(folder)
}

/// The primary header of a file, as text or as FITS.
fn primary_header(path: &Path) -> Option<Header> {
    let name = path.to_string_lossy();
    if name.ends_with(".fits") || name.ends_with(".gz") {
        let source = FitsSource::open(path, &OpenOptions::default());
        return source.ok().map(|s| s.info().header.clone());
    }
    let bytes = std::fs::read(path).ok()?;
    let text: String = bytes.iter().take(1 << 20).map(|&b| char::from(b)).collect();
    let is_lines = text.lines().take(3).all(|l| l.len() <= 81) && text.lines().count() > 3;
    let text = if is_lines { text } else { text.replace('\n', " ") };
    Some(header_from_text(&text))
}

#[test]
fn real_headers_have_the_positions_of_wcslib_or_a_clear_error() {
    let Some(data) = data() else { return };
    let csv = data.join("reference/wcs_points_astropy/wcs_points_dev.csv");
    let mut files: BTreeMap<String, Vec<[f64; 4]>> = BTreeMap::new();
    for line in std::fs::read_to_string(csv).unwrap().lines().skip(1) {
        let fields: Vec<&str> = line.rsplitn(7, ',').collect();
        let number = |i: usize| fields[i].parse::<f64>().unwrap();
        if fields[5] == "0" {
            let point = [number(3), number(2), number(1), number(0)];
            files.entry(fields[6].to_owned()).or_default().push(point);
        }
    }
    let (mut checked, mut refused, mut absent) = (0, 0, 0);
    for (name, points) in files {
        let path = match name.split_once('/').unwrap() {
            ("c", rest) => data.join("reference").join(rest),
            ("b", rest) => data.join("mosaic").join(rest),
            (_, rest) => data.join("catalogue").join(rest),
        };
        let Some(header) = primary_header(&path) else {
            absent += 1;
            continue;
        };
        let wcs = match Wcs::from_header(&header) {
            Ok(wcs) => wcs,
            Err(error @ (WcsError::Projection { .. } | WcsError::Axes { .. })) => {
                eprintln!("{name}: {error}");
                refused += 1;
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        let scale_deg = wcs.scale_arcsec_per_px(wcs.reference_pixel()).unwrap() / 3600.0;
        let is_distorted = wcs.cards().iter().any(|c| c.key == "A_ORDER" || c.key == "PV2_1");
        for [x, y, lon_deg, lat_deg] in points {
            if lon_deg.is_nan() {
                continue;
            }
            // pixels have six digits after the point in the table
            let rounding = 1e-6 * scale_deg;
            let tolerance = if is_distorted { 1e-3 * scale_deg } else { 1e-9 + rounding };
            let got = wcs.sky_from_pixel(Point::new(x, y)).unwrap();
            let distance = got.distance_deg(SkyPoint { lon_deg, lat_deg });
            assert!(distance < tolerance, "{name} ({x}, {y}): {distance} deg, {got:?}");
        }
        checked += 1;
    }
    eprintln!("{checked} headers checked, {refused} refused, {absent} not at hand");
    assert!(checked >= 8 && refused > 0);
}
