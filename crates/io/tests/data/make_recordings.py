"""Makes the recordings of other programs that tests/foreign_recordings.rs reads.

python3 make_recordings.py   (needs numpy, h5py, tifffile, imagecodecs, scipy, pillow)

Sample (t, c, y, x) of each is (t * 37 + c * 101 + y * 11 + x * 3) % 200, minus 100 if the type is
signed; floats are half of that.
"""

import os

import h5py
import numpy as np
import scipy.io
import tifffile
from PIL import Image

H, W = 5, 7
here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "recordings")
os.makedirs(here, exist_ok=True)


def path(name):
    file = os.path.join(here, name)
    if os.path.exists(file):
        os.remove(file)
    return file


def movie(dtype, t, c):
    """t × c × y × x."""
    i = np.indices((t, c, H, W))
    v = (i[0] * 37 + i[1] * 101 + i[2] * 11 + i[3] * 3) % 200
    dtype = np.dtype(dtype)
    if dtype.kind == "i":
        v = v - 100
    if dtype.kind == "f":
        v = v * 0.5
    return v.astype(dtype)


def hdf5():
    with h5py.File(path("h5_mov_u16.h5"), "w") as f:
        f["mov"] = movie("u2", 6, 1)[:, 0]
        f["mean"] = np.zeros((H, W), "f4")
    with h5py.File(path("h5_ch_i16_gzip.h5"), "w") as f:
        v = movie("i2", 6, 2)
        for c in range(2):
            f.create_dataset(f"ch{c + 1}", data=v[:, c], chunks=(4, 3, 7), compression="gzip", shuffle=True)
    with h5py.File(path("h5_data_4d_f32.h5"), "w") as f:
        f["data"] = movie("f4", 6, 2).transpose(0, 2, 3, 1)
    with h5py.File(path("h5_imaging_u16_big_endian.h5"), "w") as f:
        f["imaging"] = movie(">u2", 6, 1)[:, 0]
    with h5py.File(path("h5_latest_f64_lzf.h5"), "w", libver="latest") as f:
        f.create_dataset("x", data=movie("f8", 6, 1)[:, 0], maxshape=(None, H, W), chunks=(1, H, W), compression="lzf")
    with h5py.File(path("h5_group_i64.h5"), "w") as f:
        f["a/b/image"] = movie("i8", 6, 1)[:, 0]
    with h5py.File(path("h5_planes_5d_u8.h5"), "w") as f:
        f["imaging"] = movie("u1", 6, 2).reshape(2, 3, 2, H, W).transpose(0, 1, 3, 4, 2)
    with h5py.File(path("h5_rows_columns_frames_u16.h5"), "w") as f:
        f["imaging"] = movie("u2", 6, 1)[:, 0].transpose(1, 2, 0)
    with h5py.File(path("h5_ordering_attribute_u32.h5"), "w") as f:
        d = f.create_dataset("ch1", data=movie("u4", 6, 1)[:, 0].transpose(2, 1, 0))
        d.attrs["dimension_ordering"] = (1, 0, 2)


def mat():
    v = movie("u2", 6, 2).transpose(1, 2, 3, 0)
    extra = {"note": "text", "settings": {"a": 1.0}, "scale": 2.5}
    scipy.io.savemat(path("mat5_u16_packed.mat"), {"ch1": v[0], "ch2": v[1], **extra}, do_compression=True)
    v = movie("f8", 6, 1).transpose(1, 2, 3, 0)
    scipy.io.savemat(path("mat5_f64.mat"), {**extra, "mov": v[0]})
    v = movie("i1", 6, 1).transpose(1, 2, 3, 0)
    scipy.io.savemat(path("mat5_i8_packed.mat"), {"stack": v[0]}, do_compression=True)
    v = movie("f4", 6, 1)[:, 0]
    scipy.io.savemat(path("mat5_frames_first_f32_packed.mat"), {"mov": v}, do_compression=True)
    # Integers that are whole are stored short, in a double variable.
    v = movie("u1", 1, 1)[0, 0]
    scipy.io.savemat(path("mat5_single_frame_u8.mat"), {"ch1": v})
    with h5py.File(path("mat73_i16.mat"), "w", userblock_size=512) as f:
        for c, channel in enumerate(movie("i2", 6, 2).transpose(1, 0, 3, 2)):
            d = f.create_dataset(f"ch{c + 1}", data=channel, chunks=(3, W, H), compression="gzip")
            d.attrs["MATLAB_class"] = np.bytes_("int16")
    with open(os.path.join(here, "mat73_i16.mat"), "r+b") as f:
        f.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM")


def tiff():
    def write(name, v, **kw):
        tifffile.imwrite(path(name), v, **kw)

    write("tif_pages_u16.tif", movie("u2", 6, 1)[:, 0], photometric="minisblack", metadata=None)
    write("tif_imagej_2ch_u16.tif", movie("u2", 6, 2), imagej=True, metadata={"axes": "TCYX"})
    write("tif_imagej_run_f32.tif", movie("f4", 6, 1)[:, 0], imagej=True, truncate=True, metadata={"axes": "TYX"})
    write("tif_imagej_2ch_run_u8.tif", movie("u1", 6, 2), imagej=True, truncate=True, metadata={"axes": "TCYX"})
    write("tif_ome_tcyx_u8.ome.tif", movie("u1", 6, 2), ome=True, photometric="minisblack", metadata={"axes": "TCYX"})
    z = movie("i2", 6, 2).reshape(2, 3, 2, H, W)
    write("tif_ome_tczyx_i16.ome.tif", z.transpose(0, 2, 1, 3, 4), ome=True, photometric="minisblack", metadata={"axes": "TCZYX"})
    write("tif_shaped_tcyx_i32.tif", movie("i4", 6, 2), photometric="minisblack", metadata={"axes": "TCYX"})
    write("tif_big_deflate_predictor_u16.tif", movie("u2", 6, 1)[:, 0], photometric="minisblack", bigtiff=True, compression="zlib", predictor=2, metadata=None)
    write("tif_big_endian_f64.tif", movie(">f8", 6, 1)[:, 0], photometric="minisblack", byteorder=">", metadata=None)
    write("tif_big_endian_predictor_i16.tif", movie(">i2", 6, 1)[:, 0], photometric="minisblack", byteorder=">", compression="zlib", predictor=2, metadata=None)
    write("tif_float_predictor_f32.tif", movie("f4", 6, 1)[:, 0], photometric="minisblack", compression="zlib", predictor=3, metadata=None)
    write("tif_tiles_u16.tif", movie("u2", 6, 1)[:, 0], photometric="minisblack", tile=(16, 16), compression="zlib", metadata=None)
    write("tif_strips_u16.tif", movie("u2", 6, 1)[:, 0], photometric="minisblack", rowsperstrip=2, compression="zlib", metadata=None)
    write("tif_rgb_u8.tif", movie("u1", 6, 3).transpose(0, 2, 3, 1), photometric="rgb", metadata=None)
    write("tif_planar_rgb_u16.tif", movie("u2", 6, 3), photometric="rgb", planarconfig="separate", metadata=None)
    write("tif_planes_are_frames_u16.tif", movie("u2", 6, 1)[:, 0], photometric="minisblack", planarconfig="separate", metadata=None)
    write("tif_interleaved_u16.tif", movie("u2", 6, 2).reshape(12, H, W), photometric="minisblack", metadata=None)
    write("tif_scanimage_i16.tif", movie("i2", 6, 2).reshape(12, H, W), photometric="minisblack", metadata=None,
          software="SI.VERSION_MAJOR = 2020\nSI.hChannels.channelSave = [1;2]\nSI.hStackManager.framesPerSlice = 6\n")
    frames = [Image.fromarray(f) for f in movie("u1", 6, 1)[:, 0]]
    for name, compression in [("lzw", "tiff_lzw"), ("packbits", "packbits")]:
        frames[0].save(path(f"tif_{name}_u8.tif"), save_all=True, append_images=frames[1:], compression=compression)
    color = [Image.fromarray(f) for f in np.ascontiguousarray(movie("u1", 6, 3).transpose(0, 2, 3, 1))]
    color[0].save(path("tif_lzw_predictor_rgb_u8.tif"), save_all=True, append_images=color[1:], compression="tiff_lzw", tiffinfo={317: 2})


hdf5()
mat()
tiff()
