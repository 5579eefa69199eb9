//! The reference frame's linear world coordinates, carried over to the canvas.

use stillframe_image::{Header, Value};

use super::canvas::Canvas;

/// Keywords that are carried over as they are.
const FIXED: [&str; 13] = [
    "WCSAXES", "CTYPE1", "CTYPE2", "CUNIT1", "CUNIT2", "CRVAL1", "CRVAL2", "RADESYS", "RADECSYS",
    "EQUINOX", "LONPOLE", "LATPOLE", "CROTA2",
];

/// Keywords that are per pixel.
const PER_PIXEL: [&str; 6] = ["CD1_1", "CD1_2", "CD2_1", "CD2_2", "CDELT1", "CDELT2"];

/// Matrix elements without a unit.
const MATRIX: [&str; 4] = ["PC1_1", "PC1_2", "PC2_1", "PC2_2"];

/// Copies the WCS of `from`, moved and scaled to `canvas`.
///
/// Distortion terms (SIP, TPV) are left out, since the canvas has the mean geometry of the burst;
/// a frame whose CTYPE asks for them gets the plain projection.
pub(super) fn copy(from: &Header, canvas: &Canvas, to: &mut Header) {
    let (Some(x), Some(y)) = (from.real("CRPIX1"), from.real("CRPIX2")) else { return };
    if from.text("CTYPE1").is_none() || from.real("CRVAL1").is_none() {
        return;
    }
    for card in &from.cards {
        let key = card.key.as_str();
        let mut card = card.clone();
        if PER_PIXEL.contains(&key) {
            let Some(v) = from.real(key) else { continue };
            card.value = Value::Real(v * canvas.step);
        } else if key.starts_with("CTYPE")
            && let Value::Text(t) = &mut card.value
        {
            *t = t.replace("-SIP", "").replace("-TPV", "-TAN");
        }
        if FIXED.contains(&key) || PER_PIXEL.contains(&key) || MATRIX.contains(&key) {
            to.cards.push(card);
        }
    }
    // FITS counts from 1 at the centre of the first pixel.
    let pixel = |crpix: f64, first: f64| (crpix - 1.0 - first) / canvas.step + 1.0;
    to.push_real("CRPIX1", pixel(x, canvas.first.x), "reference pixel");
    to.push_real("CRPIX2", pixel(y, canvas.first.y), "reference pixel");
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Point, Shape};

    use super::*;

    #[test]
    fn the_reference_pixel_moves_with_the_canvas() {
        let mut from = Header::default();
        from.push_text("CTYPE1", "RA---TAN-SIP", "");
        from.push_real("CRVAL1", 10.0, "");
        from.push_real("CD1_1", 4e-4, "");
        from.push_real("CRPIX1", 101.0, "");
        from.push_real("CRPIX2", 51.0, "");
        let canvas = Canvas { first: Point::new(-10.25, 0.0), step: 0.5, shape: Shape::new(1, 1) };
        let mut to = Header::default();
        copy(&from, &canvas, &mut to);
        assert_eq!(to.real("CRPIX1"), Some(221.5));
        assert_eq!(to.real("CD1_1"), Some(2e-4));
        assert_eq!(to.text("CTYPE1"), Some("RA---TAN"));
        assert_eq!(to.real("CRPIX2"), Some(101.0));
    }
}
