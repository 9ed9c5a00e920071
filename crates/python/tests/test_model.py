"""A model and an index that the command `uard` makes, read from Python."""

import json
import subprocess
import sys

import numpy as np
import pytest

import uard


def command(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "uard", *arguments], cwd=folder, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    for line in [
        "data scenes --out data --train 120 --dev 20 --test 20",
        "train --config scenes --data data --run run --set training.epochs=1",
        "index --data data --split dev --model run --index photos",
    ]:
        result = command(folder, *line.split())
        assert result.returncode == 0, result.stderr
    return folder


def test_a_model_encodes_as_the_command_does(place):
    model = uard.Model.load(place / "run")
    captions = (place / "data/dev_caps.txt").read_text().splitlines()
    regions = model.regions(np.load(place / "data/dev_ims.npy"))
    words = model.words(captions)
    assert {rows.shape[1] for rows in regions + words} == {regions[0].shape[1]}
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(words), axis=1), 1, atol=1e-5)
    for caption, rows in zip(captions, words):
        tokens = model.tokens(caption)
        assert "".join(text for text, _ in tokens) == "".join(caption.lower().split())
        assert all(0 <= row < len(rows) for _, own in tokens for row in own)
    similarities = model.search(precision="f32").similarities(regions, words)

    evaluate = "evaluate --checkpoint run --data data --split dev --similarities dev.npy".split()
    result = command(place, *evaluate, "--precision", "f32")
    assert result.returncode == 0, result.stderr
    np.testing.assert_allclose(similarities, np.load(place / "dev.npy"), atol=1e-6)


def test_an_index_answers_as_the_command_does(place):
    index = uard.Index.open(place / "photos")
    query = "a red circle -square"
    result = command(place, "search", query, "--index", "photos", "--top", "3", "--format", "json")
    assert result.returncode == 0, result.stderr
    # JSON has the shortest decimal numbers of float32.
    found = json.loads(json.dumps(index.search(query, top=3)), parse_float=np.float32)
    assert found == json.loads(result.stdout, parse_float=np.float32)
    photo = index.search("circle", top=1)["results"][0]["path"]
    words = index.explain(photo, "a red circle")["words"]
    assert {"red", "circle"} <= {word["word"] for word in words}
    with pytest.raises(ValueError, match="not in the index"):
        index.explain(place / "data/nothing.png", "circle")
    with pytest.raises((OSError, ValueError), match="missing"):
        uard.Index.open(place / "missing")


def test_the_command_reports_wrong_arguments(place):
    result = command(place, "search", "--index", "missing", "dog")
    assert result.returncode != 0 and "missing" in result.stderr
    result = command(place, "serch")
    assert result.returncode == 2 and "serch" in result.stderr
    assert command(place, "--version").stdout.split()[1] == uard.__version__
