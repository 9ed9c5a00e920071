"""Times ONNX Runtime on turning photos into regions with the Inception-v3 trunk.

    python -m pip install numpy onnxruntime onnx pillow safetensors
    python inception.py SHARED THREADS OUT.npy PHOTO…

The peer of crates/features/examples/photos_to_regions.rs: the same weights, photos, 299 x 299
pixels and grid of 6 x 6, batches of 16. The graph is the one that SHARED/flickr8k/make_features.py
builds. Photos are decoded by Pillow in as many threads as the network has, and, unlike there, the
next batch is decoded while the network works. Time includes decoding, and not building the graph.
OUT.npy becomes [I, 36, 1280] in f32.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy
import onnxruntime
from safetensors.numpy import load_file

BATCH = 16


def main(shared, threads, out, paths):
    spec = spec_from_file_location("make_features", shared / "flickr8k/make_features.py")
    features = module_from_spec(spec)
    spec.loader.exec_module(features)

    def session(model):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return plain(model, options)

    plain, onnxruntime.InferenceSession = onnxruntime.InferenceSession, session
    weights = load_file(shared / "weights/inception_v3_trunk.safetensors")
    network = features.build_graph(weights)

    batches = [paths[at : at + BATCH] for at in range(0, len(paths), BATCH)]
    found = []
    with ThreadPoolExecutor(threads) as pool:
        decode = lambda batch: [pool.submit(features.pixels, path) for path in batch]
        start = time.perf_counter()
        waiting = decode(batches[0])
        for following in [*batches[1:], []]:
            pixels = numpy.stack([photo.result() for photo in waiting])
            waiting = decode(following)
            grid = features.pool_to(network.run(None, {"x": pixels})[0], 6)
            found.append(grid.reshape(len(pixels), 1280, 36).transpose(0, 2, 1))
        seconds = time.perf_counter() - start
    print(f"{len(paths)} photos in {seconds:.2f} s, {len(paths) / seconds:.2f} a second")
    numpy.save(out, numpy.ascontiguousarray(numpy.concatenate(found), numpy.float32))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
