//! Which pixels of the grid an image may touch.

use stillframe_image::{Point, Rect, Shape};
use stillframe_io::wcs::PixelMap;

/// Distance between the points of an image's border that are looked up, pixels.
const STEP: f64 = 32.0;
/// Grid pixels that are added around what was found: the border bends between two points.
const MARGIN: f64 = 3.0;
/// Two neighbouring points farther apart than this share of the grid lie on both sides of its seam.
const JUMP: f64 = 0.5;

/// The rectangle of the grid of shape `grid` that an image of shape `shape` may touch; safe, not tight;
/// `None` if it touches nothing.
///
/// The image's border is followed. Where it leaves the sky that the grid shows, or jumps (the seam of an
/// all-sky map), or the image may hold a pole of the map, the whole grid is taken.
pub(super) fn footprint(grid_from_tile: &PixelMap<'_>, shape: Shape, grid: Shape) -> Option<Rect> {
    let (width, height) = (shape.width as f64, shape.height as f64);
    let mut low = Point::new(f64::INFINITY, f64::INFINITY);
    let mut high = Point::new(f64::NEG_INFINITY, f64::NEG_INFINITY);
    let mut before: Option<Point> = None;
    let mut any_missing = false;
    let limit = JUMP * grid.width.max(grid.height) as f64;
    let mut is_torn = false;
    let mut take = |p: Point, is_border: bool| {
        let Some(q) = grid_from_tile.at(p) else {
            any_missing = true;
            return;
        };
        low = Point::new(low.x.min(q.x), low.y.min(q.y));
        high = Point::new(high.x.max(q.x), high.y.max(q.y));
        if is_border {
            is_torn |= before.is_some_and(|b| b.distance(q) > limit);
            before = Some(q);
        }
    };
    for p in border(width, height) {
        take(p, true);
    }
    // a pole inside shows as inner points outside of the border's box
    for j in 1..8 {
        for i in 1..8 {
            let at = |k: i32, size: f64| f64::from(k) / 8.0 * size - 0.5;
            take(Point::new(at(i, width), at(j, height)), false);
        }
    }
    if low.x > high.x {
        return None;
    }
    if any_missing || is_torn {
        return Some(grid.rect());
    }
    let cut = |low: f64, high: f64, size: usize| {
        let first = (low - MARGIN).floor().max(0.0);
        let end = (high + MARGIN).ceil().min(size as f64 - 1.0) + 1.0;
        (first < end).then_some((first as usize, end as usize))
    };
    let (x0, x1) = cut(low.x, high.x, grid.width)?;
    let (y0, y1) = cut(low.y, high.y, grid.height)?;
    Some(Rect::new(x0, y0, x1 - x0, y1 - y0))
}

/// Points along the outer sides of the outer pixels, once around.
pub(super) fn border(width: f64, height: f64) -> Vec<Point> {
    let corners = [
        Point::new(-0.5, -0.5),
        Point::new(width - 0.5, -0.5),
        Point::new(width - 0.5, height - 0.5),
        Point::new(-0.5, height - 0.5),
    ];
    let mut points = Vec::new();
    for k in 0..4 {
        let (a, b) = (corners[k], corners[(k + 1) % 4]);
        let n = (a.distance(b) / STEP).ceil().max(1.0) as usize;
        for i in 0..n {
            let t = i as f64 / n as f64;
            points.push(Point::new(a.x + t * (b.x - a.x), a.y + t * (b.y - a.y)));
        }
    }
    points.push(corners[0]);
    points
}

#[cfg(test)]
mod tests {
    use stillframe_io::wcs::{SkyFrame, SkyPoint, Wcs};

    use super::*;

    #[test]
    fn every_pixel_of_an_image_lies_in_its_footprint() {
        let at = |lon_deg: f64, lat_deg: f64| SkyPoint { lon_deg, lat_deg };
        let icrs = SkyFrame::Icrs;
        let tile_shape = Shape::new(120, 90);
        for (grid_centre, tile_centre) in [
            (at(10.0, 5.0), at(10.3, 5.2)),
            (at(0.0, 89.0), at(170.0, 89.7)),
            (at(359.9, -30.0), at(0.4, -30.2)),
        ] {
            let grid = Wcs::tangent(grid_centre, &icrs, Point::new(200.0, 150.0), 20.0, 0.0);
            let tile = Wcs::tangent(tile_centre, &icrs, Point::new(44.5, 59.5), 15.0, 0.0);
            let map = PixelMap::new(&tile, &grid).unwrap();
            let shape = Shape::new(300, 400);
            let rect = footprint(&map, tile_shape, shape);
            for y in 0..tile_shape.height {
                for x in 0..tile_shape.width {
                    let q = map.at(Point::new(x as f64, y as f64)).unwrap();
                    let (qx, qy) = (q.x.round(), q.y.round());
                    if qx >= 0.0 && qy >= 0.0 && qx < 400.0 && qy < 300.0 {
                        let r = rect.expect("it touches the grid");
                        let (qx, qy) = (qx as usize, qy as usize);
                        assert!(qx >= r.x && qx < r.x_end() && qy >= r.y && qy < r.y_end());
                    }
                }
            }
        }
        let far = Wcs::tangent(at(190.0, -5.0), &icrs, Point::new(44.5, 59.5), 15.0, 0.0);
        let grid = Wcs::tangent(at(10.0, 5.0), &icrs, Point::new(200.0, 150.0), 20.0, 0.0);
        let map = PixelMap::new(&far, &grid).unwrap();
        assert_eq!(footprint(&map, tile_shape, Shape::new(300, 400)), None);
    }
}
