"""Scenes, and a model of their photos, for the tests of this folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ENCODER = Path(__file__).parents[2] / "features/tests/goldens/transformers/dinov2"
"""A network for photos of a few kilobytes."""


def command(folder, *arguments):
    line = [sys.executable, "-m", "uard", *map(str, arguments)]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True)


def succeeds(folder, *arguments):
    result = command(folder, *arguments)
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Scenes with their own features in `data`, and `run`, a model of them."""
    folder = tmp_path_factory.mktemp("scenes")
    succeeds(folder, *"data scenes --out data --train 200 --dev 40 --test 40".split())
    succeeds(folder, *"train --config scenes --data data --run run --set training.epochs=3".split())
    return folder


@pytest.fixture(scope="session")
def photo_run(scenes):
    """A model of the pictures of the scenes, as the network above encodes them."""
    captioned = scenes / "captioned"
    captioned.mkdir()
    (captioned / "photos").symlink_to(scenes / "data/images")
    for split in ["train", "dev"]:
        ids = (scenes / f"data/{split}_ids.txt").read_text().split()
        (captioned / f"{split}_ids.txt").write_text("".join(f"{name}.png\n" for name in ids))
        captions = (scenes / f"data/{split}_caps.txt").read_text()
        (captioned / f"{split}_caps.txt").write_text(captions)
    settings = {
        "training.epochs": 1,
        "images.encoder": "vision-transformer",
        "images.weights": json.dumps([str(ENCODER)]),
        "images.regions": "all",
    }
    settings = [part for key, value in settings.items() for part in ["--set", f"{key}={value}"]]
    train = "train --config scenes --images captioned --run photo-run".split()
    succeeds(scenes, *train, *settings)
    return scenes / "photo-run"
