use super::*;
use crate::fits::header_from_text;

/// A block of `tests/data/wcs/points.txt`.
struct Case {
    name: String,
    /// Degrees where it is linear, pixels where it is distorted.
    tolerance: f64,
    wcs: Wcs,
    points: Vec<[f64; 4]>,
}

/// Made by `make.py` in the same folder with astropy (wcslib).
fn cases() -> Vec<Case> {
    let text = include_str!("../../tests/data/wcs/points.txt");
    text.split("header ")
        .skip(1)
        .map(|block| {
            let (head, points) = block.split_once("points\n").unwrap();
            let (title, cards) = head.split_once('\n').unwrap();
            let (name, tolerance) = title.split_once(' ').unwrap();
            let points = points.lines().filter(|l| !l.starts_with("rotation")).map(|line| {
                let mut numbers = line.split(' ').map(|v| v.parse().unwrap());
                [(); 4].map(|()| numbers.next().unwrap())
            });
            Case {
                name: name.into(),
                tolerance: tolerance.parse().unwrap(),
                wcs: Wcs::from_header(&header_from_text(cards))
                    .unwrap_or_else(|e| panic!("{name}: {e}")),
                points: points.collect(),
            }
        })
        .collect()
}

#[test]
fn positions_are_those_of_wcslib_both_ways() {
    let cases = cases();
    assert!(cases.len() >= 24 && cases.iter().all(|c| c.points.len() >= 3));
    for Case { name, tolerance, wcs, points } in &cases {
        for &[x, y, lon_deg, lat_deg] in points {
            let (p, sky) = (Point::new(x, y), SkyPoint { lon_deg, lat_deg });
            let got = wcs.sky_from_pixel(p).unwrap();
            let scale_deg = wcs.scale_arcsec_per_px(wcs.reference_pixel()).unwrap() / 3600.0;
            // 1e-9 degrees where nothing distorts; with distortion the tolerance is in pixels
            let degrees = if *tolerance > 1e-8 { tolerance * scale_deg } else { *tolerance };
            assert!(got.distance_deg(sky) < degrees, "{name} {p:?}: {got:?}, wcslib {sky:?}");
            let back = wcs.pixel_from_sky(sky).unwrap();
            let px = tolerance.max(1e-9 / scale_deg).max(1e-6);
            assert!(back.distance(p) < px, "{name} {p:?}: {back:?}");
        }
    }
}

#[test]
fn rotations_between_systems_are_those_of_astropy() {
    let text = include_str!("../../tests/data/wcs/points.txt");
    for (name, frame) in [("galactic", SkyFrame::Galactic), ("fk5", SkyFrame::Fk5)] {
        let rotation = frame.rotation_to(&SkyFrame::Icrs).unwrap().unwrap();
        let prefix = format!("rotation icrs_from_{name} ");
        let rows = text.lines().filter_map(|l| l.strip_prefix(&prefix));
        for (row, want) in rotation.iter().zip(rows) {
            for (got, want) in row.iter().zip(want.split(' ')) {
                assert!((got - want.parse::<f64>().unwrap()).abs() < 1e-15);
            }
        }
    }
}

#[test]
fn cards_and_bytes_give_the_same_coordinates_to_the_bit() {
    for Case { wcs, points, .. } in cases() {
        let header = Header { cards: wcs.cards().to_vec() };
        let again = Wcs::from_header(&header).unwrap();
        assert_eq!(again, wcs);
        let sent = Wcs::try_from(String::from(wcs.clone())).unwrap();
        assert_eq!(sent, wcs);
        for [x, y, ..] in points {
            let p = Point::new(x, y);
            assert_eq!(again.sky_from_pixel(p), wcs.sky_from_pixel(p));
            assert_eq!(sent.sky_from_pixel(p), wcs.sky_from_pixel(p));
        }
    }
}

#[test]
fn a_cropped_image_shows_the_same_sky() {
    for Case { wcs, points, name, .. } in cases() {
        let first = Point::new(13.0, -7.0);
        let cropped = wcs.cropped(first);
        for [x, y, ..] in points {
            let (a, b) = (
                wcs.sky_from_pixel(Point::new(x, y)),
                cropped.sky_from_pixel(Point::new(x - 13.0, y + 7.0)),
            );
            assert!(a.unwrap().distance_deg(b.unwrap()) < 1e-10, "{name}");
        }
    }
}

#[test]
fn a_tangent_grid_has_the_scale_and_centre_that_were_asked_for() {
    for (lon_deg, lat_deg) in [(0.0, 0.0), (359.99, 60.0), (123.0, -85.0), (40.0, 90.0)] {
        let centre = SkyPoint { lon_deg, lat_deg };
        let wcs = Wcs::tangent(centre, &SkyFrame::Icrs, Point::new(99.5, 49.5), 2.5, 0.0);
        let p = wcs.pixel_from_sky(centre).unwrap();
        assert!(p.distance(Point::new(99.5, 49.5)) < 1e-9);
        assert!((wcs.scale_arcsec_per_px(p).unwrap() - 2.5).abs() < 1e-7);
        let north = wcs.sky_from_pixel(Point::new(99.5, 149.5)).unwrap();
        assert!(lat_deg > 89.0 || (north.lat_deg - lat_deg - 250.0 / 3600.0).abs() < 1e-6);
    }
}

#[test]
fn headers_that_cannot_be_used_say_why() {
    let error = |cards: &str| Wcs::from_header(&header_from_text(cards)).unwrap_err().to_string();
    assert!(error("A = 1\n").contains("CTYPE1 is missing"));
    let base = "CRVAL1 = 1.0\nCRVAL2 = 1.0\nCRPIX1 = 1.0\nCRPIX2 = 1.0\n";
    let linear = "CDELT1 = 1.0\nCDELT2 = 1.0\n";
    let types = |a: &str, b: &str| format!("CTYPE1 = '{a}'\nCTYPE2 = '{b}'\n{base}");
    assert!(error(&types("RA---TAN", "DEC--TAN")).contains("CDELT1 is missing"));
    assert!(error(&(types("RA---MOL", "DEC--MOL") + linear)).contains("MOL is not supported"));
    assert!(error(&(types("RA---TNX", "DEC--TNX") + linear)).contains("TNX"));
    assert!(error(&(types("LINEAR", "LINEAR") + linear)).contains("LINEAR"));
    assert!(error(&(types("RA---TAN", "RA---TAN") + linear)).len() > 10);
    let singular = "CD1_1 = 1.0\nCD1_2 = 1.0\nCD2_1 = 1.0\nCD2_2 = 1.0\n";
    assert!(error(&(types("RA---TAN", "DEC--TAN") + singular)).contains("cannot be used"));
}
