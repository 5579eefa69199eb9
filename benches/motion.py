#!/usr/bin/env python3
"""Speed and accuracy of `stillframe motion` on recordings whose motion is known.

    python3 benches/motion.py PROGRAM MOVIES [--work FOLDER] [--seeds 7 11 23] [--sizes 256 512] [--channels 1 2]

PROGRAM is the release binary; MOVIES a folder with gen_movie.py (its function make_movie gives movie, ref and the true
w). Needs numpy, scipy and h5py; with OpenCV its dense inverse search is measured beside. For every recording and preset:

* epe: mean end-point error inside a margin of 25 pixels, reference given, the whole pipeline;
* ms: CPU milliseconds per frame with one worker, sequential: the difference of a run over the recording repeated several
  times and one over the recording, divided by the difference in frames, so that the start, the choice of alpha and the
  final files cancel. Reading, smoothing, flow, sampling, judging and writing are in it.
"""
import argparse
import json
import os
import subprocess
import sys

import h5py
import numpy as np

MARGIN = 25


def movie(args, seed, height, width, channels, frames):
    folder = os.path.join(args.work, f"s{seed}_{height}x{width}_{channels}")
    if not os.path.exists(folder + "/ref.h5"):
        sys.path.insert(0, args.movies)
        from gen_movie import make_movie
        m = make_movie(seed=seed, H=height, W=width, C=channels, T=frames)
        os.makedirs(folder, exist_ok=True)
        np.save(folder + "/w.npy", m["w"])
        for name, stack in (("mov", m["movie"]), ("long", np.concatenate([m["movie"]] * args.repeat)), ("ref", m["ref"][None])):
            with h5py.File(f"{folder}/{name}.h5", "w") as f:
                for c in range(channels):
                    f.create_dataset(f"ch{c + 1}", data=stack[..., c].astype("f4"), chunks=(1, height, width))
    return folder


def run(args, folder, name, *more):
    out = os.path.join(folder, "out")
    command = [args.program, "motion", f"{folder}/{name}.h5", "-o", out, "--overwrite", "--quiet", "--reference",
               folder + "/ref.h5", "--executor", "sequential", *more]
    before = os.times()
    subprocess.run(command, check=True)
    after = os.times()
    return out, after.children_user + after.children_system - before.children_user - before.children_system


def epe(out, folder):
    w = np.load(folder + "/w.npy")
    with h5py.File(out + "/w.h5") as f:
        e = np.hypot(f["u"][: len(w)] - w[..., 0], f["v"][: len(w)] - w[..., 1])
    return float(e[:, MARGIN:-MARGIN, MARGIN:-MARGIN].mean())


def dis(folder, channels):
    """OpenCV's dense inverse search as PyFlowReg sets it up: EPE and the least milliseconds of the search alone."""
    try:
        import cv2
    except ImportError:
        return None
    import time
    from scipy.ndimage import gaussian_filter
    cv2.setNumThreads(1)
    read = lambda name: np.stack([h5py.File(f"{folder}/{name}.h5")[f"ch{c + 1}"][:] for c in range(channels)], -1)
    ref, mov, w = read("ref")[0], read("mov"), np.load(folder + "/w.npy")
    low, high = ref.min(), ref.max()
    eight = lambda a: (np.clip(np.mean([gaussian_filter((a[..., c] - low) / (high - low), 1) for c in range(channels)], 0), 0, 1) * 255).astype("u1")
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for set_, value in ((flow.setFinestScale, 2), (flow.setGradientDescentIterations, 12), (flow.setPatchSize, 8),
                        (flow.setPatchStride, 4), (flow.setUseMeanNormalization, True), (flow.setUseSpatialPropagation, True)):
        set_(value)
    fixed, errors, times = eight(ref), [], []
    for t in range(len(mov)):
        moving = eight(mov[t])
        clock = time.perf_counter()
        got = flow.calc(fixed, moving, None)
        times.append(time.perf_counter() - clock)
        errors.append(np.hypot(got[..., 0] - w[t, ..., 0], got[..., 1] - w[t, ..., 1])[MARGIN:-MARGIN, MARGIN:-MARGIN].mean())
    return float(np.mean(errors)), 1e3 * min(times)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("movies")
    parser.add_argument("--work", default="motion-bench")
    parser.add_argument("--seeds", type=int, nargs="*", default=[7, 11, 23])
    parser.add_argument("--sizes", nargs="*", default=["256", "512", "96x176"])
    parser.add_argument("--channels", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--repeat", type=int, default=4)
    args = parser.parse_args()
    print("| recording | channels | preset | EPE px | CPU ms/frame |\n|---|---|---|---|---|")
    rows = []
    for size in args.sizes:
        height, width = (map(int, size.split("x")) if "x" in size else (int(size),) * 2)
        frames = 40 if height <= 256 else 16
        for seed in args.seeds:
            for channels in args.channels:
                folder = movie(args, seed, height, width, channels, frames)
                for quality in ("fast", "balanced", "quality"):
                    out, _ = run(args, folder, "mov", "--quality", quality, "--save-w")
                    error = epe(out, folder)
                    _, short = run(args, folder, "mov", "--quality", quality)
                    _, long = run(args, folder, "long", "--quality", quality)
                    ms = 1e3 * (long - short) / ((args.repeat - 1) * frames)
                    rows.append(dict(size=size, seed=seed, channels=channels, preset=quality, epe=error, ms=ms))
                    print(f"| {size}, seed {seed} | {channels} | {quality} | {error:.3f} | {ms:.2f} |", flush=True)
                peer = dis(folder, channels)
                if peer:
                    print(f"| {size}, seed {seed} | {channels} | OpenCV DIS | {peer[0]:.3f} | {peer[1]:.2f} (search alone) |", flush=True)
    with open(os.path.join(args.work, "results.json"), "w") as f:
        json.dump(rows, f, indent=1)


if __name__ == "__main__":
    main()
