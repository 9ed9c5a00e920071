"""Writes inception_regions.safetensors: what make_features.py computes with the real weights.

    python -m pip install numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 pillow==13.0.0 safetensors==0.8.0
    python inception_regions.py SHARED           SHARED has flickr8k/ and weights/

`drawn` [36, 1280] in f16: of 299 x 299 pixels that a formula gives, so that both sides see the same
ones. Nothing of the photographs is stored.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy
from safetensors.numpy import load_file, save_file

SIDE = 299


def drawn():
    """Bytes [H, W, 3]; src/backbone/tests/networks.rs has the same formula."""
    y, x, colour = numpy.ogrid[:SIDE, :SIDE, :3]
    waves = (x * (3 + colour) + y * (5 - colour)) % 256
    patches = (x // 23 * 37 + y // 31 * 53 + colour * 71) % 256
    return ((waves + patches) // 2).astype(numpy.float32)


def main(shared):
    spec = spec_from_file_location("make_features", shared / "flickr8k/make_features.py")
    features = module_from_spec(spec)
    spec.loader.exec_module(features)
    weights = load_file(shared / "weights/inception_v3_trunk.safetensors")
    session = features.build_graph(weights)
    batch = drawn().transpose(2, 0, 1)[None] / 127.5 - 1
    grid = features.pool_to(session.run(None, {"x": batch})[0], 6)
    regions = grid.reshape(1280, 36).transpose().astype(numpy.float16)
    save_file({"drawn": regions.copy()}, Path(__file__).with_suffix(".safetensors"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
