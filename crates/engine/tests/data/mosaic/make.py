"""Writes exact.txt: a small image reprojected by reproject_exact (reproject 0.21) onto another grid.

Run: python make.py > exact.txt
Lines: `input` and the header of the input, `pixels` and its values; `output` and the header of the output, `values`
and what reproject_exact makes of it (nan where nothing overlaps), row by row.
"""
import numpy as np
from astropy.wcs import WCS
from reproject import reproject_exact

NX, NY = 18, 14
inp = dict(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=40.0, CRVAL2=60.0, CRPIX1=9.3, CRPIX2=7.1, CD1_1=-0.012, CD1_2=0.003,
           CD2_1=0.003, CD2_2=0.012)
out = dict(CTYPE1="RA---SIN", CTYPE2="DEC--SIN", CRVAL1=40.05, CRVAL2=60.03, CRPIX1=8.0, CRPIX2=6.5, CD1_1=-0.017, CD1_2=-0.002,
           CD2_1=-0.002, CD2_2=0.017)


def show(title, header, shape):
    print(title)
    print(f"NAXIS1  = {shape[1]}\nNAXIS2  = {shape[0]}")
    for k, v in header.items():
        print(f"{k:8s}= " + (f"'{v}'" if isinstance(v, str) else repr(v)))


y, x = np.mgrid[0:NY, 0:NX].astype(float)
image = (100 + 40 * np.sin(0.9 * x) * np.cos(0.7 * y) + 300 * np.exp(-((x - 8.2) ** 2 + (y - 6.4) ** 2) / 3)).astype("f4")
shape = (12, 15)
array, _ = reproject_exact((image.astype(float), WCS(inp)), WCS(out), shape_out=shape)
show("input", inp, image.shape)
print("pixels")
for row in image:
    print(" ".join(repr(float(v)) for v in row))
show("output", out, shape)
print("values")
for row in array:
    print(" ".join(repr(float(v)) for v in row))
