//! Which page holds which frame and channel, by what the program that wrote the file left in its
//! texts.

/// Pages of a recording: frame = t · z_planes + z is at page `t · t_step + z · z_step + channel · c_step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrangement {
    pub(super) times: usize,
    pub(super) planes: usize,
    pub(super) channels: usize,
    t_step: usize,
    z_step: usize,
    c_step: usize,
}

/// What the metadata say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stated {
    /// Nothing: pages are frames.
    Nothing,
    /// Numbers of channels, planes, times, and their order, fastest first.
    Hyperstack { sizes: [usize; 3], order: [Axis; 3] },
    /// This many pages are the channels of a frame (ScanImage).
    Interleaved(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    C,
    Z,
    T,
}

impl Arrangement {
    /// `channels` consecutive pages to a frame; an incomplete last frame is left out.
    pub(super) fn interleaved(pages: usize, channels: usize) -> Self {
        let times = pages / channels;
        Self { times, planes: 1, channels, t_step: channels, z_step: 0, c_step: 1 }
    }

    fn hyperstack(sizes: [usize; 3], order: [Axis; 3]) -> Self {
        let size = |axis| sizes[axis as usize];
        let step = |axis| order.iter().take_while(|&&a| a != axis).map(|&a| size(a)).product();
        Self {
            times: size(Axis::T),
            planes: size(Axis::Z),
            channels: size(Axis::C),
            t_step: step(Axis::T),
            z_step: step(Axis::Z),
            c_step: step(Axis::C),
        }
    }

    /// The arrangement of `pages` that fits what is stated; the reason if none does.
    pub(super) fn of(pages: usize, stated: Stated) -> Result<Self, String> {
        match stated {
            Stated::Nothing => Ok(Self::interleaved(pages, 1)),
            Stated::Interleaved(channels) => Ok(Self::interleaved(pages, channels)),
            Stated::Hyperstack { sizes, order } => {
                if sizes.iter().product::<usize>() == pages {
                    return Ok(Self::hyperstack(sizes, order));
                }
                // The program that wrote it was stopped, or the text was copied from elsewhere.
                let channels = sizes[Axis::C as usize];
                let is_alternating = order[0] == Axis::C && pages.is_multiple_of(channels);
                if channels == 1 || is_alternating {
                    return Ok(Self::interleaved(pages, channels));
                }
                let [c, z, t] = sizes;
                Err(format!(
                    "{pages} pages, but its text says {c} channels × {z} planes × {t} times"
                ))
            }
        }
    }

    pub(super) fn frames(self) -> usize {
        self.times * self.planes
    }

    pub(super) fn page(self, frame: usize, channel: usize) -> usize {
        let (t, z) = (frame / self.planes, frame % self.planes);
        t * self.t_step + z * self.z_step + channel * self.c_step
    }
}

impl Stated {
    /// What the texts (description, software, artist) say about a file with `samples` per pixel.
    pub(super) fn read(texts: &[String; 3], samples: usize) -> Self {
        let description = texts[0].trim_start();
        let stated = if description.starts_with("ImageJ=") {
            imagej(description)
        } else if description.contains("<OME") {
            ome(description)
        } else if description.starts_with('{') {
            tifffile(description)
        } else {
            texts.iter().find_map(|text| scanimage(text))
        };
        match stated {
            // Channels that are the samples of a pixel are in each page already.
            Some(Self::Hyperstack { sizes, order }) if samples > 1 => {
                let [c, z, t] = sizes;
                let c = if c.is_multiple_of(samples) { c / samples } else { c };
                Self::Hyperstack { sizes: [c, z, t], order }
            }
            Some(stated) => stated,
            None => Self::Nothing,
        }
    }

    /// How many pages there should be.
    pub(super) fn pages(self) -> usize {
        match self {
            Self::Hyperstack { sizes, .. } => {
                sizes.iter().fold(1, |n: usize, &s| n.saturating_mul(s))
            }
            Self::Nothing | Self::Interleaved(_) => 1,
        }
    }
}

/// ImageJ: lines `key=value`; pages go by channel, plane, time.
fn imagej(text: &str) -> Option<Stated> {
    let value = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='))?;
        line.trim().parse::<usize>().ok().filter(|&n| n > 0)
    };
    let (c, z, t) = (value("channels"), value("slices"), value("frames"));
    let mut sizes = [c.unwrap_or(1), z.unwrap_or(1), t.unwrap_or(1)];
    if (c, z, t) == (None, None, None) {
        sizes[2] = value("images")?;
    }
    Some(Stated::Hyperstack { sizes, order: [Axis::C, Axis::Z, Axis::T] })
}

/// OME-XML: attributes of the first `Pixels` element.
fn ome(text: &str) -> Option<Stated> {
    let pixels = &text[text.find("<Pixels")?..];
    let pixels = &pixels[..pixels.find('>')?];
    let value = |key: &str| {
        let text = &pixels[pixels.find(&format!(" {key}="))? + key.len() + 2..];
        let quote = text.chars().next()?;
        text[quote.len_utf8()..].split(quote).next()
    };
    let size = |key| value(key).and_then(|v| v.trim().parse::<usize>().ok()).filter(|&n| n > 0);
    let order = axes(value("DimensionOrder")?.strip_prefix("XY")?.chars())?;
    Some(Stated::Hyperstack { sizes: [size("SizeC")?, size("SizeZ")?, size("SizeT")?], order })
}

/// tifffile: JSON with `shape` and, if the user gave them, `axes`.
fn tifffile(text: &str) -> Option<Stated> {
    let after = |key: &str| {
        let at = text.find(&format!("\"{key}\""))? + key.len() + 2;
        Some(text[at..].trim_start_matches([':', ' ']))
    };
    let shape = after("shape")?.strip_prefix('[')?;
    let shape = shape[..shape.find(']')?].split(',').map(|n| n.trim().parse::<usize>());
    let shape = shape.collect::<Result<Vec<_>, _>>().ok()?;
    let letters = after("axes").and_then(|a| a.strip_prefix('"')?.split('"').next());
    let mut sizes = [1; 3];
    let Some(letters) = letters.filter(|l| l.chars().count() == shape.len()) else {
        // Without names all but the last two axes are frames; samples of a pixel come last.
        let frames = shape.len().checked_sub(2)?;
        sizes[2] = shape[..frames].iter().product();
        return Some(Stated::Hyperstack { sizes, order: [Axis::C, Axis::Z, Axis::T] });
    };
    let mut order = Vec::new();
    for (letter, &n) in letters.chars().rev().zip(shape.iter().rev()) {
        let axis = match letter {
            'X' | 'Y' | 'S' => continue,
            'C' => Axis::C,
            'Z' => Axis::Z,
            _ => Axis::T,
        };
        sizes[axis as usize] *= n;
        order.push(axis);
    }
    for axis in [Axis::C, Axis::Z, Axis::T] {
        if !order.contains(&axis) {
            order.push(axis);
        }
    }
    Some(Stated::Hyperstack { sizes, order: order.try_into().ok()? })
}

/// The order of the three axes; `None` if one is missing.
fn axes(letters: impl Iterator<Item = char>) -> Option<[Axis; 3]> {
    let axis = |letter| match letter {
        'C' => Some(Axis::C),
        'Z' => Some(Axis::Z),
        'T' => Some(Axis::T),
        _ => None,
    };
    let order: [Axis; 3] = letters.map(axis).collect::<Option<Vec<_>>>()?.try_into().ok()?;
    let has = |axis| order.contains(&axis);
    (has(Axis::C) && has(Axis::Z) && has(Axis::T)).then_some(order)
}

/// ScanImage: `SI.hChannels.channelSave = [1;2]` lists the saved channels (`channelsSave` in older
/// versions).
fn scanimage(text: &str) -> Option<Stated> {
    let lines = text.lines().filter(|l| l.contains("SI.hChannels.channel"));
    let line = lines.into_iter().find(|l| l.contains("Save ") || l.contains("Save="))?;
    let list = line.split('=').nth(1)?;
    let numbers = list.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).count();
    (numbers > 0).then_some(Stated::Interleaved(numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Stated {
        Stated::read(&[text.into(), String::new(), String::new()], 1)
    }

    #[test]
    fn each_page_is_found_once() {
        use Axis::{C, T, Z};
        for order in [[C, Z, T], [Z, C, T], [T, Z, C], [Z, T, C]] {
            let a = Arrangement::of(24, Stated::Hyperstack { sizes: [2, 3, 4], order }).unwrap();
            assert_eq!((a.frames(), a.channels), (12, 2));
            let mut pages: Vec<usize> =
                (0..12).flat_map(|f| (0..2).map(move |c| a.page(f, c))).collect();
            pages.sort_unstable();
            assert!(pages.into_iter().eq(0..24), "{order:?}");
        }
    }

    #[test]
    fn texts_are_understood() {
        use Axis::{C, T, Z};
        let czt = [C, Z, T];
        let stack = |sizes, order| Stated::Hyperstack { sizes, order };
        let imagej = "ImageJ=1.53t\nimages=60\nchannels=2\nslices=3\nframes=10\nhyperstack=true\n";
        assert_eq!(read(imagej), stack([2, 3, 10], czt));
        assert_eq!(read("ImageJ=1.53t\nimages=3500\n"), stack([1, 1, 3500], czt));
        assert_eq!(read("ImageJ=1.48v\nmin=0.0"), Stated::Nothing);
        let ome = "<?xml?><OME><Image><Pixels DimensionOrder=\"XYZCT\" SizeC='2' SizeT=\"5\" \
                   SizeX=\"9\" SizeZ=\"3\"><TiffData/></Pixels></Image></OME>";
        assert_eq!(read(ome), stack([2, 3, 5], [Z, C, T]));
        assert_eq!(
            read("{\"shape\": [7, 2, 4, 5], \"axes\": \"TCYX\"}"),
            stack([2, 1, 7], [C, T, Z])
        );
        assert_eq!(read("{\"shape\": [7, 4, 5]}"), stack([1, 1, 7], czt));
        assert_eq!(read("SI.hChannels.channelSave = [1;3]\n"), Stated::Interleaved(2));
        assert_eq!(read("scanimage.SI.hChannels.channelsSave = 1"), Stated::Interleaved(1));
        assert_eq!(read("frame 12"), Stated::Nothing);
        assert_eq!(Stated::read(&[ome.into(), String::new(), String::new()], 2).pages(), 15);
    }

    #[test]
    fn wrong_texts_do_not_hide_pages() {
        let imagej = read("ImageJ=1.53t\nimages=3500\n");
        assert_eq!(Arrangement::of(3, imagej).unwrap().frames(), 3);
        let two = read("ImageJ=1.53t\nchannels=2\nframes=10\n");
        assert_eq!(Arrangement::of(6, two).unwrap(), Arrangement::interleaved(6, 2));
        assert!(Arrangement::of(5, two).unwrap_err().contains("2 channels"));
    }
}
