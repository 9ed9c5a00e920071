"""Races the Python package `uard` against NumPy, PyTorch, maxsim-cpu and NumKong, on the same data in one run.

    pip install dist/uard-*.whl torch maxsim-cpu numkong
    python benches/peers/python.py [--images 200] [--captions 200] [--threads 2]

Every image of 36 regions with every caption of 12 words, width 512, words as queries: the mean over words of the
highest cosine, and UARDA's masked rule, which the peers do not have. Rounds alternate and medians count. Packing
is inside of the time. A peer that is not installed is listed as missing.
"""

import argparse
import importlib
import statistics
import time

import numpy as np

ROUNDS = 5
REGIONS, WORDS, WIDTH = 36, 12, 512


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def contestants(regions, words, threads):
    import uard

    uard.set_threads(threads)
    threshold = 2.0 / WIDTH**0.5

    def ours(**settings):
        search = uard.Search(threshold, sides="words", **settings)
        return lambda: search.similarities(regions, words)

    yield "uard maxsim, bf16", ours(rule="maxsim", precision="bf16")
    yield "uard maxsim, f32", ours(rule="maxsim", precision="f32")
    yield "uard masked, bf16", ours(precision="bf16")
    yield "uard masked, f32", ours(precision="f32")

    flat = regions.reshape(-1, WIDTH)

    def by_numpy():
        cells = words.reshape(-1, WIDTH) @ flat.T
        best = cells.reshape(len(words), WORDS, len(regions), REGIONS).max(-1)
        return best.mean(1).T

    yield "NumPy, f32", by_numpy
    yield from by_torch(regions, words, threads)
    yield from by_maxsim_cpu(regions, words)
    yield from by_numkong(regions, words)


def by_torch(regions, words, threads):
    torch = peer("torch")
    if torch is None:
        return
    torch.set_num_threads(threads)
    for name, dtype in [("f32", torch.float32), ("bf16", torch.bfloat16)]:
        r, w = (torch.from_numpy(rows).to(dtype) for rows in (regions, words))

        def scores(r=r, w=w):
            cells = w.reshape(-1, WIDTH) @ r.reshape(-1, WIDTH).T
            best = cells.reshape(len(w), WORDS, len(r), REGIONS).amax(-1)
            return best.float().mean(1).T.numpy()

        yield f"PyTorch, {name}", scores


def by_maxsim_cpu(regions, words):
    maxsim = peer("maxsim_cpu")
    if maxsim is not None:
        yield "maxsim-cpu, f32", lambda: np.stack(
            [maxsim.maxsim_scores(caption, regions) / WORDS for caption in words], axis=1
        )


def by_numkong(regions, words):
    numkong = peer("numkong")
    if numkong is None:
        return
    packed_regions = [numkong.maxsim_pack(image, dtype="f32") for image in regions]
    packed_words = [numkong.maxsim_pack(caption, dtype="f32") for caption in words]

    def scores():
        return np.array(
            [
                [1.0 - numkong.maxsim_packed(w, r) / WORDS for w in packed_words]
                for r in packed_regions
            ]
        )

    yield "NumKong, f32, packed before, one thread", scores


def peer(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"missing: {name}")
        return None


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in [("images", 200), ("captions", 200), ("threads", 2)]:
        arguments.add_argument(f"--{name}", type=int, default=default)
    given = arguments.parse_args()
    draw = np.random.default_rng(0)
    regions = unit(draw.standard_normal((given.images, REGIONS, WIDTH), dtype=np.float32))
    words = unit(draw.standard_normal((given.captions, WORDS, WIDTH), dtype=np.float32))
    racing = dict(contestants(regions, words, given.threads))
    expected = racing["uard maxsim, f32"]()
    seconds = {name: [] for name in racing}
    for _ in range(1 + ROUNDS):
        for name, run in racing.items():
            begun = time.perf_counter()
            found = run()
            seconds[name].append(time.perf_counter() - begun)
            if "masked" not in name:
                np.testing.assert_allclose(found, expected, atol=1e-2, err_msg=name)
    fastest = statistics.median(seconds["uard maxsim, f32"][1:])
    cells = given.images * given.captions * REGIONS * WORDS * WIDTH
    for name, taken in seconds.items():
        median = statistics.median(taken[1:])
        print(f"{name:40} {median * 1e3:8.1f} ms {cells / median / 1e9:7.1f} Gmadd/s {median / fastest:6.2f}")


if __name__ == "__main__":
    main()
