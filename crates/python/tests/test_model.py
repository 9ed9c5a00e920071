"""A model and an index that the command `uard` makes, read from Python."""

import json
import os
import shutil

import numpy as np
import pytest

import uard
from conftest import ENCODER, command, succeeds

PHOTOS = ENCODER.parents[1] / "photos"


@pytest.fixture(scope="module")
def place(scenes):
    succeeds(scenes, *"index --data data --split dev --model run --index photos".split())
    return scenes


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


def test_photos_are_encoded_from_paths_and_bytes_and_stored(tmp_path):
    encoder = uard.Encoder("vision-transformer", ENCODER, regions="all")
    paths = [PHOTOS / "rgb.jpg", PHOTOS / "grey.jpg"]
    found = encoder.regions([*paths, paths[0].read_bytes(), b"no photo", tmp_path / "gone"])
    assert found[0]["features"].shape == (16, encoder.width)
    assert found[0]["boxes"].shape == (16, 4) and found[0]["width"] == 24
    np.testing.assert_array_equal(found[2]["features"], found[0]["features"])
    assert [bool(photo["error"]) for photo in found] == [False, False, False, True, True]

    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in paths))
    photos = uard.PhotoList.open(listed)
    assert photos.ids == [str(path) for path in paths]
    counts = {"images": 1, "unreadable": 0}
    for part in ["1/2", "2/2"]:
        assert encoder.extract(photos, tmp_path, split="dev", part=part) == counts
    joined = uard.join_stores(tmp_path, [tmp_path], split="dev")
    assert joined == {"images": 2, "unreadable": 0}
    (tmp_path / "dev_caps.txt").write_text("one\ntwo\n")
    split = uard.Split.open(tmp_path, "dev")
    assert (len(split), split.captions, split.image_of_caption) == (2, ["one", "two"], [0, 1])
    assert split.ids == photos.ids
    for image, photo in zip(split.features(0, 2), found):
        np.testing.assert_array_equal(image, photo["features"])
    with pytest.raises(ValueError, match="the split has 2"):
        split.features(1, 3)
    for wrong in [{"regions": "7"}, {"matmul": "f64"}, {"regions": "x"}]:
        with pytest.raises(ValueError):
            uard.Encoder("resnet50", ENCODER, **wrong)
    for refused in [
        lambda: encoder.extract(photos, tmp_path, split="../dev"),
        lambda: uard.Split.open(tmp_path, "../dev"),
        lambda: encoder.extract(photos, tmp_path, splits="dev"),
    ]:
        with pytest.raises(ValueError, match="split"):
            refused()


def test_photos_are_indexed_by_a_model_in_memory_and_adopted(scenes, photo_run, tmp_path):
    photos = sorted((scenes / "data/images").iterdir())[:8]
    indexer = uard.Indexer(photo_run, precision="bf16")
    counts = indexer.update(tmp_path / "one", photos[:5])
    assert counts["new"] == counts["photos"] == 5 and counts["problems"] == []
    for number in [1, 2]:
        counts = indexer.update(tmp_path / f"part-{number}", photos, part=f"{number}/2")
        assert 0 < counts["new"] == counts["photos"] < 8
    parts = [tmp_path / "part-1", tmp_path / "part-2"]
    counts = uard.adopt_indexes(tmp_path / "all", parts)
    assert counts["new"] == counts["photos"] == 8
    index = uard.Index.open(tmp_path / "all")
    assert len(index) == 8 and sorted(index.paths()) == photos
    assert index.model == uard.Index.open(parts[0]).model == uard.Model.load(photo_run).identity
    assert len(index.search("a red circle")["results"]) == 8
    with pytest.raises(OSError, match="cannot open"):
        indexer.update(tmp_path / "one", [tmp_path / "gone"])
    for wrong in [{"part": "3/2"}, {"part": "x"}]:
        with pytest.raises(ValueError, match="part of a list"):
            indexer.update(tmp_path / "one", photos, **wrong)
    with pytest.raises((OSError, ValueError)):
        uard.Indexer(tmp_path / "no run")
    with pytest.raises(ValueError, match="one or more folders"):
        uard.adopt_indexes(tmp_path / "all", [])


def test_an_indexer_refuses_a_model_that_has_changed(scenes, photo_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(photo_run, run)
    photos = sorted((scenes / "data/images").iterdir())[:2]
    indexer = uard.Indexer(run)
    indexer.update(tmp_path / "index", photos)
    shutil.rmtree(run)
    shutil.copytree(scenes / "run", run)
    with pytest.raises(ValueError, match="the model has changed"):
        indexer.update(tmp_path / "other", photos)


def test_a_model_encodes_photos(scenes, photo_run, tmp_path):
    photos = sorted((scenes / "data/images").iterdir())[:3]
    model = uard.Model.load(photo_run, weights=ENCODER)
    features = uard.Encoder("vision-transformer", ENCODER, regions="all").regions(photos)
    regions = model.regions([photo["features"] for photo in features])
    encoded = model.regions([photos[0], str(photos[1]), photos[2].read_bytes()])
    np.testing.assert_array_equal(encoded, regions)
    assert encoded[0].shape[1] == model.width
    with pytest.raises(ValueError, match=r"images\[1\]"):
        model.regions([photos[0], b"no photo"])
    with pytest.raises((OSError, ValueError), match="nowhere"):
        uard.Model.load(photo_run, weights=tmp_path / "nowhere").regions(photos)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_is_told_that_it_cannot_search(place):
    index = uard.Index.open(place / "photos")
    index.search("a circle")
    child = os.fork()
    if child == 0:
        try:
            index.search("a circle")
        except RuntimeError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
