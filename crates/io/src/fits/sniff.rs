//! What a file that is not FITS seems to be.

/// A sentence on the file that starts with `head` and lacks a FITS header.
pub(super) fn looks_like(head: &[u8]) -> String {
    const COPY: &str = "copy the original again";
    const CONVERT: &str = "convert it to FITS first";
    let known: [(&[u8], &str, &str); 22] = [
        (b"version https://git-lfs", "a Git LFS pointer", "fetch the data with `git lfs pull`"),
        (b"SIMPLE", "a FITS-like header that breaks the 80-column cards", COPY),
        (b"XISF0100", "a PixInsight XISF image", CONVERT),
        (b"LUCAM-RECORDER", "a SER video", CONVERT),
        (b"\x89PNG", "a PNG image", "the original FITS frames are needed"),
        (b"\xff\xd8\xff", "a JPEG image", "the original FITS frames are needed"),
        (b"GIF8", "a GIF image", "the original FITS frames are needed"),
        (b"FUJIFILMCCD-RAW", "a camera raw file (RAF)", CONVERT),
        (b"IIRO", "a camera raw file (ORF)", CONVERT),
        (b"IIU\0", "a camera raw file (RW2)", CONVERT),
        (b"II*\0", "a TIFF image or a TIFF-like camera raw file", CONVERT),
        (b"MM\0*", "a TIFF image or a TIFF-like camera raw file", CONVERT),
        (b"II+\0", "a BigTIFF image", CONVERT),
        (b"\x89HDF", "an HDF5 file", CONVERT),
        (b"PK\x03\x04", "a ZIP archive", "unpack it first"),
        (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it first"),
        (b"Rar!", "a RAR archive", "unpack it first"),
        (b"BZh", "a bzip2 file", "unpack it first"),
        (b"\xfd7zXZ", "an xz file", "unpack it first"),
        (b"\x28\xb5\x2f\xfd", "a Zstandard file", "unpack it first"),
        (b"\x1f\x9d", "a file packed by `compress` (.Z)", "unpack it first"),
        (b"%PDF", "a PDF document", "the original FITS frames are needed"),
    ];
    let found = known.iter().find(|(magic, ..)| head.starts_with(magic));
    let text = String::from_utf8_lossy(head).trim_start().to_ascii_lowercase();
    if let Some((_, kind, remedy)) = found {
        return format!("it looks like {kind}; {remedy}");
    }
    if head.get(4..8) == Some(b"ftyp") {
        let raw = head[8..].starts_with(b"crx");
        let kind = if raw { "a camera raw file (CR3)" } else { "a video or HEIF image" };
        return format!("it looks like {kind}; {CONVERT}");
    }
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return format!("it looks like a web page, perhaps of a failed download; {COPY}");
    }
    if text.starts_with("<?xml") {
        return "it looks like an XML document".into();
    }
    if head.iter().all(|&b| b == 0) {
        return format!("it starts with zeros, as after an interrupted copy; {COPY}");
    }
    if head.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) {
        return "it looks like a text file".into();
    }
    format!("it starts with the bytes {}", hex(&head[..head.len().min(8)]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_sees() {
        assert!(
            looks_like(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull")
        );
        assert!(looks_like(b"\n<!DOCTYPE html><html>").contains("web page"));
        assert!(looks_like(&[0; 64]).contains("zeros"));
        assert!(looks_like(b"\0\0\0\x18ftypcrx ").contains("CR3"));
        assert!(looks_like(b"\x01\x02\xff").contains("01 02 ff"));
        assert!(looks_like(b"hello").contains("text"));
    }
}
