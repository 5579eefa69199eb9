"""Makes the FITS files of this folder and expected.txt, what astropy reads in them.

Run with numpy and astropy (made with 8.0): python make.py
Each line of expected.txt: file, sample type, planes, height, width, then the physical values,
plane by plane and row by row, rounded to float32; nan where there is no measurement.
"""
import gzip, io, os
import numpy as np
from astropy.io import fits

os.chdir(os.path.dirname(os.path.abspath(__file__)))
rng = np.random.default_rng(20260101)
H, W = 11, 17
lines = []


def expect(name, sample, values):
    v = np.asarray(values, np.float64).astype(np.float32)
    v = v.reshape((-1,) + v.shape[-2:])
    text = " ".join("nan" if not np.isfinite(x) else repr(float(x)) for x in v.ravel())
    lines.append(f"{name} {sample} {v.shape[0]} {v.shape[1]} {v.shape[2]} {text}")


def ramp(dtype, shape=(H, W)):
    """All of the type's range, both ends among it."""
    info = np.iinfo(dtype)
    v = rng.integers(info.min, info.max, size=shape, dtype=dtype, endpoint=True)
    v.flat[0], v.flat[1] = info.min, info.max
    return v


def write(name, hdus):
    fits.HDUList(hdus).writeto(name, overwrite=True, output_verify="exception", checksum=True)


for dtype, sample in [("uint8", "u8"), ("int8", "i8"), ("int16", "i16"), ("uint16", "u16"),
                      ("int32", "i32"), ("uint32", "u32"), ("int64", "i64"), ("uint64", "u64")]:
    v = ramp(dtype)
    write(f"{sample}.fits", [fits.PrimaryHDU(v)])
    expect(f"{sample}.fits", sample, v)

for dtype, sample in [("float32", "f32"), ("float64", "f64")]:
    v = (rng.standard_normal((H, W)) * 1e3).astype(dtype)
    v[2, 3], v[4, 5], v[4, 6] = np.nan, np.inf, -np.inf
    write(f"{sample}.fits", [fits.PrimaryHDU(v)])
    expect(f"{sample}.fits", sample, v)

# Integers with BLANK and with a real scale.
raw = rng.integers(-30000, 30000, size=(H, W)).astype("int16")
raw[1, 2] = raw[10, 16] = -32768
hdu = fits.PrimaryHDU(raw)
hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.37, 12.5, -32768
write("scaled_blank.fits", [hdu])
expect("scaled_blank.fits", "i16",
       np.where(raw == -32768, np.nan, 12.5 + 0.37 * raw.astype("float64")))

# Colour planes, axes of 1, an image behind a table in an extension.
rgb = ramp("uint16", (3, H, W))
write("rgb.fits", [fits.PrimaryHDU(rgb)])
expect("rgb.fits", "u16", rgb)
one = rng.standard_normal((1, 1, H, W)).astype("float32")
write("axes_of_one.fits", [fits.PrimaryHDU(one)])
expect("axes_of_one.fits", "f32", one[0])
table = fits.BinTableHDU.from_columns([fits.Column("A", "1J", array=np.arange(3))])
primary = fits.PrimaryHDU()
primary.header["EXPTIME"] = 30.0
primary.header["FILTER"] = "primary"
ext = ramp("uint16")
image = fits.ImageHDU(ext, name="SCI")
image.header["FILTER"] = "extension"
write("extension.fits", [primary, table, image])
expect("extension.fits", "u16", ext)

# Every form of card.
hdu = fits.PrimaryHDU(ramp("uint8", (5, 7)))
h = hdu.header
h["INT"], h["NEG"], h["REAL"], h["SMALL"] = 42, -7, 2.5, 1.25e-30
h["LOGICAL"], h["UNDEF"] = True, None
h["QUOTE"] = ("it's a 'test'", "with quotes")
h["LONG"] = ("0123456789" * 17 + " it's & long", "a comment")
h["HIERARCH ESO DET CHIP GAIN"] = (0.8, "long keyword")
h["COMPLEX"] = 1 + 2j
h["DATE-OBS"], h["EXPTIME"], h["CCD-TEMP"] = "2026-01-01T00:02:23.5", 10.0, -9.9
h["EGAIN"], h["IMAGETYP"], h["SATURATE"] = 0.8, "Light Frame", 200
h["BAYERPAT"], h["XBAYROFF"], h["ROWORDER"] = "RGGB", 1, "BOTTOM-UP"
h["COMMENT"] = "a comment"
h["HISTORY"] = "some history"
expect("cards.fits", "u8", hdu.data)
write("cards.fits", [hdu])

# Compressed: the whole file, and tiles with every codec.
v = (1000 + 20 * rng.standard_normal((H, W))).astype("uint16")
buffer = io.BytesIO()
fits.HDUList([fits.PrimaryHDU(v)]).writeto(buffer, checksum=True)
with open("whole.fits.gz", "wb") as f:
    f.write(gzip.compress(buffer.getvalue(), mtime=0))
expect("whole.fits.gz", "u16", v)
for codec in ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1", "NOCOMPRESS"]:
    shape = (H, W) if codec != "HCOMPRESS_1" else (12, 17)
    data = (1000 + 20 * rng.standard_normal(shape)).astype("int16" if codec == "PLIO_1" else "uint16")
    tile = shape if codec == "HCOMPRESS_1" else (4, 8)
    hdu = fits.CompImageHDU(data, compression_type=codec, tile_shape=tile)
    hdu.header["EXPTIME"] = 4.0
    name = f"{codec.lower()}.fits.fz"
    write(name, [fits.PrimaryHDU(), hdu])
    expect(name, "i16" if codec == "PLIO_1" else "u16", data)
v = (1000 + 20 * rng.standard_normal((H, W))).astype("float32")
v[3, 3] = np.nan
for dither in [-1, 1, 2]:
    name = f"quantized_{dither + 1}.fits.fz"
    write(name, [fits.PrimaryHDU(), fits.CompImageHDU(v, compression_type="RICE_1", tile_shape=(4, W),
                                                      quantize_method=dither, dither_seed=7)])
    with fits.open(name) as f:
        expect(name, "f32", f[1].data)
rgb = ramp("uint16", (3, H, W))
write("rgb.fits.fz", [fits.PrimaryHDU(), fits.CompImageHDU(rgb, compression_type="GZIP_2", tile_shape=(1, 5, W))])
expect("rgb.fits.fz", "u16", rgb)

with open("expected.txt", "w") as f:
    f.write("\n".join(lines) + "\n")
print(sum(os.path.getsize(n) for n in os.listdir(".")), "bytes")
