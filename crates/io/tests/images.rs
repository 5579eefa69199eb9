//! Files with several images.

use stillframe_image::{Header, Image, Shape};
use stillframe_io::Existing;
use stillframe_io::fits::{FitsSource, FitsWriter, OpenOptions, ReadScratch};

#[test]
fn every_image_of_a_file_is_found_named_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stack.fits");
    let image = |value: f32| Image::filled(Shape::new(5, 7), value);
    let mut writer = FitsWriter::create(&path, Existing::Refuse).unwrap();
    let planes = [image(1.0), image(2.0), image(3.0)];
    let mut header = Header::default();
    header.push_real("EXPTIME", 2.5, "");
    writer.write_image(None, &header, &planes.iter().collect::<Vec<_>>()).unwrap();
    writer.write_image(Some("WEIGHT"), &Header::default(), &[&image(4.0)]).unwrap();
    writer.finish().unwrap();

    let all = FitsSource::open_all(&path, &OpenOptions::default()).unwrap();
    let names: Vec<_> = all.iter().map(|s| s.info().extension_name.as_deref()).collect();
    assert_eq!(names, [None, Some("WEIGHT")]);
    assert_eq!((all[0].info().planes, all[1].info().planes), (3, 1));
    let (mut pixels, mut mask) = (image(0.0), Image::filled(Shape::new(5, 7), 0));
    all[1].read_plane(0, &mut pixels, &mut mask, &mut ReadScratch::default()).unwrap();
    assert_eq!(pixels, image(4.0));
    assert_eq!(all[0].info(), FitsSource::open(&path, &OpenOptions::default()).unwrap().info());
}
