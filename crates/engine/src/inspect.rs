//! What is in a FITS file: layout, header, and figures of every plane.

mod statistics;

use std::fmt;
use std::path::Path;

use serde::Serialize;
use stillframe_image::{Card, Image, Shape, Value};
use stillframe_io::ReadError;
use stillframe_io::fits::{FitsSource, FrameInfo, OpenOptions, ReadScratch};

pub use statistics::{PlaneStatistics, SkyStatistics, ValueStatistics};

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Its images, in order.
    pub images: Vec<ImageInspection>,
}

/// What is in an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageInspection {
    /// What the header says.
    pub info: FrameInfo,
    /// Figures of each plane.
    pub planes: Vec<PlaneStatistics>,
    /// Stars and sky of each plane of the first image; a mosaic is measured on its green samples.
    pub sky: Vec<Option<SkyStatistics>>,
}

/// What is in the file `path`. One plane is in memory at a time.
///
/// # Errors
/// If the file cannot be read or holds no image.
pub fn inspect(path: &Path) -> Result<Inspection, ReadError> {
    let sources = FitsSource::open_all(path, &OpenOptions::default())?;
    let mut scratch = ReadScratch::default();
    let none = Shape::new(0, 0);
    let (mut pixels, mut mask) = (Image::filled(none, 0.0), Image::filled(none, 0));
    let mut images = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let info = source.info().clone();
        let (mut planes, mut sky) = (Vec::new(), Vec::new());
        for plane in 0..info.planes {
            source.read_plane(plane, &mut pixels, &mut mask, &mut scratch)?;
            planes.push(PlaneStatistics::of(&pixels, &mask));
            if index == 0 {
                sky.push(SkyStatistics::of(&pixels, &mask, info.cfa));
            }
        }
        images.push(ImageInspection { info, planes, sky });
    }
    Ok(Inspection { images })
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, image) in self.images.iter().enumerate() {
            let place =
                || if index == 0 { "primary".into() } else { format!("image {}", index + 1) };
            let name = image.info.extension_name.clone().unwrap_or_else(place);
            let gap = if index == 0 { "" } else { "\n" };
            writeln!(f, "{gap}{name}")?;
            write!(f, "{image}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ImageInspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        layout(&self.info, f)?;
        for (index, plane) in self.planes.iter().enumerate() {
            let colour = ["red", "green", "blue"].get(index).copied();
            writeln!(f, "  {}", colour.filter(|_| self.planes.len() == 3).unwrap_or("pixels"))?;
            write!(f, "{plane}")?;
            if let Some(Some(sky)) = self.sky.get(index) {
                write!(f, "{sky}")?;
            }
        }
        writeln!(f, "  header")?;
        for card in &self.info.header.cards {
            writeln!(f, "    {}", card_line(card))?;
        }
        Ok(())
    }
}

fn layout(info: &FrameInfo, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let s = if info.planes == 1 { "" } else { "s" };
    let sample = format!("{:?}", info.sample).to_lowercase();
    writeln!(f, "  layout      {}, {} plane{s}, {sample}", info.shape, info.planes)?;
    if let Some(cfa) = info.cfa {
        writeln!(f, "  mosaic      {} at the first pixel", cfa.name())?;
    }
    if let Some(kind) = &info.image_type {
        writeln!(f, "  kind        {kind}")?;
    }
    if let Some(date) = &info.date_obs {
        writeln!(f, "  start       {date}")?;
    }
    let figures = [
        ("exposure", info.exposure_secs, "s"),
        ("temperature", info.temperature_c, "°C"),
        ("gain", info.gain_e_per_adu, "e/ADU"),
        ("saturation", info.saturation_level.map(f64::from), ""),
    ];
    for (name, value, unit) in figures {
        if let Some(value) = value {
            writeln!(f, "  {}", format!("{name:<11} {value} {unit}").trim_end())?;
        }
    }
    Ok(())
}

/// The card as in the file, without padding.
fn card_line(card: &Card) -> String {
    let value = match &card.value {
        Value::Logical(flag) => if *flag { "T" } else { "F" }.to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => format!("'{text}'"),
        Value::None => return format!("{:<8} {}", card.key, card.comment),
    };
    let slash = if card.comment.is_empty() { "" } else { " / " };
    format!("{:<8}= {value}{slash}{}", card.key, card.comment)
}

impl fmt::Display for PlaneStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |n: usize| 100.0 * n as f64 / self.n_pixels.max(1) as f64;
        for (name, n) in [("missing", self.n_missing), ("saturated", self.n_saturated)] {
            if n > 0 {
                writeln!(f, "    {name:<9} {n} ({:.4} %)", percent(n))?;
            }
        }
        let Some(v) = &self.values else { return writeln!(f, "    no values") };
        writeln!(f, "    range     {} to {}", v.min, v.max)?;
        writeln!(f, "    mean      {:.6} ± {:.6}", v.mean, v.sigma)?;
        writeln!(f, "    median    {:.6} ± {:.6} (robust)", v.median, v.robust_sigma)
    }
}

impl fmt::Display for SkyStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    sky       {:.6}, noise {:.6}", self.background, self.noise)?;
        write!(f, "    stars     {}", self.n_stars)?;
        if let Some(fwhm) = self.fwhm_px {
            write!(f, ", FWHM {fwhm:.2} px")?;
        }
        if let Some(roundness) = self.roundness {
            write!(f, ", roundness {roundness:.2}")?;
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::Header;
    use stillframe_io::Existing;
    use stillframe_io::fits::FitsWriter;

    use super::*;

    #[test]
    fn text_names_layout_values_and_cards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.fits");
        let image = Image::from_fn(Shape::new(40, 50), |x, _| x as u16);
        let mut header = Header::default();
        header.push_text("BAYERPAT", "RGGB", "mosaic");
        header.push_real("EXPTIME", 2.5, "seconds");
        header.push_history("made by hand");
        let mut writer = FitsWriter::create(&path, Existing::Refuse).unwrap();
        writer.write_image(None, &header, &[&image]).unwrap();
        writer.write_image(Some("WEIGHT"), &Header::default(), &[&image.map(f32::from)]).unwrap();
        writer.finish().unwrap();
        let inspection = inspect(&path).unwrap();
        let text = inspection.to_string();
        for part in [
            "layout      50×40, 1 plane, u16",
            "mosaic      RGGB at the first pixel",
            "exposure    2.5 s",
            "range     0 to 49",
            "BAYERPAT= 'RGGB' / mosaic",
            "HISTORY  made by hand",
            "\nWEIGHT\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(inspection.images[1].sky.is_empty());
    }
}
