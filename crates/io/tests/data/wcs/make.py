"""Writes points.txt: positions of pixels on the sky by astropy (wcslib), for headers of every kind that is read.

Run with astropy 7 or later: python make.py > points.txt
Each block: `header NAME TOLERANCE` (linear: 1e-9 deg; distorted: px), the cards, `points`, then lines of
`x y longitude latitude` (pixels from 0 at the first centre; degrees). Also printed: rotations between systems.
"""
import numpy as np
from astropy import log
from astropy.io import fits
from astropy.wcs import WCS
from astropy.coordinates import FK5, ICRS, CartesianRepresentation, Galactic


def base(code, ra=150.0, dec=2.0, scale=2.4 / 3600, rot=33.0, skew=0.0, lon="RA--", lat="DEC-"):
    c, s = np.cos(np.deg2rad(rot)), np.sin(np.deg2rad(rot))
    h = dict(CTYPE1=f"{lon}-{code}", CTYPE2=f"{lat}-{code}", CRVAL1=ra, CRVAL2=dec, CRPIX1=401.25, CRPIX2=299.5)
    h.update(CD1_1=-scale * c, CD1_2=scale * s + skew * scale, CD2_1=scale * s, CD2_2=scale * c)
    return h


def headers():
    for code in ("TAN", "SIN", "ARC", "STG", "ZEA"):
        yield code.lower(), base(code)
        yield code.lower() + "_wide", base(code, 10.0, -70.0, 0.05, 100.0, 0.02)
    yield "tan_pole", base("TAN", 77.0, 89.9, 10 / 3600)
    yield "tan_on_the_pole", base("TAN", 0.0, 90.0, 10 / 3600)
    yield "tan_wrap", base("TAN", 0.01, 45.0, 5 / 3600)
    yield "car_wide", base("CAR", 0.0, 0.0, 0.2, 0.0)
    yield "car_oblique", dict(base("CAR", 120.0, 30.0, 0.05, 0.0), LONPOLE=20.0)
    yield "ait_wide", base("AIT", 180.0, 0.0, 0.25, 0.0)
    yield "ait_oblique", dict(base("AIT", 83.0, 22.0, 0.1, 5.0), LONPOLE=10.0)
    yield "galactic_tan", base("TAN", 0.2, -0.1, 3 / 3600, lon="GLON", lat="GLAT")
    h = base("SIN", 275.1, -16.2)
    for k in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        del h[k]
    yield "sin_crota", dict(h, CDELT1=-2.7e-4, CDELT2=2.8e-4, CROTA2=-12.5, EQUINOX=2000.0)
    yield "tan_pc", dict(h, CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CDELT1=-2.7e-4, CDELT2=2.8e-4, PC1_1=0.8, PC1_2=-0.6,
                         PC2_1=0.61, PC2_2=0.79)
    yield "latitude_first", dict(base("TAN"), CTYPE1="DEC--TAN", CTYPE2="RA---TAN", CRVAL1=2.0, CRVAL2=150.0)
    sip = dict(A_ORDER=3, B_ORDER=3, A_2_0=2e-6, A_1_1=-3e-6, A_0_2=1e-6, A_3_0=4e-9, A_1_2=-2e-9, B_2_0=-1e-6, B_1_1=2e-6,
               B_0_2=3e-6, B_0_3=-5e-9, B_2_1=1e-9)
    yield "sip", dict(base("TAN-SIP"), **sip)
    yield "sip_not_in_ctype", dict(base("TAN"), **sip)
    inverse = {k.replace("A_", "AP_").replace("B_", "BP_"): (v if k.endswith("ORDER") else -v) for k, v in sip.items()}
    yield "sip_with_inverse", dict(base("TAN-SIP"), **sip, **inverse)
    pv = dict(PV1_0=1e-5, PV1_1=1.0002, PV1_2=2e-5, PV1_4=3e-4, PV1_5=-2e-4, PV1_7=0.02, PV1_10=-0.01, PV2_0=-2e-5,
              PV2_1=0.9999, PV2_2=-1e-5, PV2_4=2e-4, PV2_6=1e-4, PV2_7=-0.015, PV2_9=0.01)
    yield "tpv", dict(base("TPV"), **pv)
    yield "tan_with_pv", dict(base("TAN"), **pv)


def main():
    log.setLevel("WARNING")
    rng = np.random.default_rng(3)
    for name, h in headers():
        header = fits.Header()
        header["NAXIS"], header["NAXIS1"], header["NAXIS2"] = 2, 800, 600
        for k, v in h.items():
            header[k] = v
        w = WCS(header)
        distorted = any(k in name for k in ("sip", "tpv", "pv"))
        print("header", name, 1e-3 if distorted else 1e-9)
        for k, v in h.items():
            print(f"{k:8s}= " + (f"'{v}'" if isinstance(v, str) else repr(float(v)) if isinstance(v, float) else repr(v)))
        print("points")
        p = np.vstack([[[0, 0], [799, 599], [400.25, 298.5]], rng.uniform(0, [799, 599], (9, 2))])
        s = w.all_pix2world(p, 0)[:, [w.wcs.lng, w.wcs.lat]]
        for (x, y), (lon, lat) in zip(p, s):
            if np.isfinite(lon) and np.isfinite(lat):
                print(repr(float(x)), repr(float(y)), repr(float(lon)), repr(float(lat)))
    for name, frame in (("galactic", Galactic()), ("fk5", FK5(equinox="J2000"))):
        columns = [frame.realize_frame(CartesianRepresentation(*v)).transform_to(ICRS()).cartesian.xyz.value for v in np.eye(3)]
        for row in np.array(columns).T:
            print("rotation icrs_from_" + name, *[repr(float(v)) for v in row])


main()
