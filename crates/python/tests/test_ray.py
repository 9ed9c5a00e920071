"""`uard.ray` on two raylets of this machine."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray.data")

import ray
import ray.cluster_utils

import uard
import uard.ray

ENCODER = Path(__file__).parents[2] / "features/tests/goldens/transformers/dinov2"
SETTINGS = {"encoder": "vision-transformer", "weights": ENCODER, "regions": "all"}


def command(folder, *arguments):
    line = [sys.executable, "-m", "uard", *map(str, arguments)]
    result = subprocess.run(line, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module", autouse=True)
def cluster():
    found = ray.cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    found.add_node(num_cpus=1)
    ray.init(address=found.address, log_to_driver=False)
    yield
    ray.shutdown()
    found.shutdown()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Scenes with their own features in `data`, and with those of a network for photos in `run`."""
    folder = tmp_path_factory.mktemp("place")
    command(folder, *"data scenes --out data --train 200 --dev 40 --test 40".split())
    command(folder, *"train --config scenes --data data --run scenes --set training.epochs=3".split())
    captioned = folder / "captioned"
    captioned.mkdir()
    (captioned / "photos").symlink_to(folder / "data/images")
    for split in ["train", "dev"]:
        ids = (folder / f"data/{split}_ids.txt").read_text().split()
        (captioned / f"{split}_ids.txt").write_text("".join(f"{name}.png\n" for name in ids))
        captions = (folder / f"data/{split}_caps.txt").read_text()
        (captioned / f"{split}_caps.txt").write_text(captions)
    settings = {
        "training.epochs": 1,
        "images.encoder": "vision-transformer",
        "images.weights": json.dumps([str(ENCODER)]),
        "images.regions": "all",
    }
    settings = [part for key, value in settings.items() for part in ["--set", f"{key}={value}"]]
    command(folder, *"train --config scenes --images captioned --run run".split(), *settings)
    return folder


@pytest.fixture(scope="module")
def photos(place):
    """200 photos, and two files that are none."""
    folder = place / "photos"
    folder.mkdir()
    for path in sorted((place / "data/images").glob("train_*.png")):
        os.link(path, folder / path.name)
    (folder / "train_00030b.png").write_text("no photo")
    (folder / "zzz.png").write_text("")
    return folder


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_store_of_many_workers_has_the_bytes_of_one_even_if_one_is_killed(
    place, photos, tmp_path, monkeypatch
):
    encoder = uard.Encoder("vision-transformer", ENCODER, regions="all")
    one = encoder.extract(uard.PhotoList.open(photos), tmp_path / "one")
    assert one == {"images": 200, "unreadable": 2}
    killed = tmp_path / "killed"

    class Killed(uard.ray._Extract):
        def __call__(self, row):
            if row["part"] == "5/8" and not killed.exists():
                killed.touch()
                kill = [os.getpid(), signal.SIGKILL]
                threading.Timer(0.01, os.kill, kill).start()
            return super().__call__(row)

    monkeypatch.setattr(uard.ray, "_Extract", Killed)
    many = uard.ray.extract(photos, tmp_path / "many", blocks=8, **SETTINGS)
    assert killed.exists()
    assert many == one
    assert files(tmp_path / "many/photos_store") == files(tmp_path / "one/photos_store")
    assert os.listdir(tmp_path / "many") == ["photos_store"]

    monkeypatch.setattr(uard.ray, "_run", None)
    assert uard.ray.extract(photos, tmp_path / "many", **SETTINGS) == one


def test_parts_of_an_index_are_kept_updated_and_adopted(place, photos, tmp_path):
    arguments = {"model": place / "run", "blocks": 3, "index": tmp_path / "index"}
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(photos.iterdir())[:60]:
        os.link(path, few / path.name)
    counts = uard.ray.index([few], tmp_path / "parts", **arguments)
    assert (counts["new"], counts["unreadable"], counts["photos"]) == (59, 1, 59)
    index = uard.Index.open(tmp_path / "index")
    command(tmp_path, "index", few, "--model", place / "run", "--index", "whole")
    whole = uard.Index.open(tmp_path / "whole")
    assert sorted(index.paths()) == sorted(whole.paths()) and len(index) == 59
    found, expected = (it.search("a red circle", top=60)["results"] for it in [index, whole])
    similarities = lambda results: {it["path"]: it["similarity"] for it in results}
    assert similarities(found) == similarities(expected)

    gone = min(few.glob("*.png"))
    gone.unlink()
    os.link(photos / "train_00150.png", few / "new.png")
    counts = uard.ray.index([few], tmp_path / "parts", model=place / "run")
    assert (counts["new"], counts["removed"], counts["unchanged"]) == (1, 1, 58)
    with pytest.raises(ValueError, match="part-1-of-3"):
        uard.ray.index([few], tmp_path / "parts", model=place / "run", blocks=2)


def test_lists_of_tiles_are_those_of_all_pairs(place, tmp_path):
    found = uard.ray.match(place / "scenes", place / "data", "train", tmp_path / "lists.npz")
    split = uard.Split.open(place / "data", "train")
    model = uard.Model.load(place / "scenes")
    regions = model.regions(split.features(0, len(split)))
    best = model.search().top_k(regions, model.words(split.captions), 10)
    saved = np.load(tmp_path / "lists.npz")
    for name in ["captions", "caption_similarities", "images", "image_similarities"]:
        np.testing.assert_array_equal(found[name], getattr(best, name))
        np.testing.assert_array_equal(saved[name], found[name])
    assert os.listdir(tmp_path) == ["lists.npz"]


def test_shards_answer_as_one_index_and_say_which_of_them_do_not(place, tmp_path):
    for split in ["train", "dev", "test"]:
        arguments = ["--model", place / "scenes", "--index", tmp_path / split]
        command(place, "index", "--data", "data", "--split", split, *arguments)
    folders = [tmp_path / split for split in ["train", "dev", "test"]]
    counts = uard.adopt_indexes(tmp_path / "one", folders)
    assert counts["new"] == counts["photos"] == 280
    one, shards = uard.Index.open(tmp_path / "one"), uard.ray.Shards(folders)

    def without_numbers(answer):
        own = ["id", "place", "index"]
        results = [{k: v for k, v in it.items() if k not in own} for it in answer["results"]]
        rest = ["results", "cursor", "not_asked"]
        return results, {k: v for k, v in answer.items() if k not in rest}

    for query in ["a red circle", "a red circle -square", '"blue star"', "a giraffe", "-circle"]:
        answer = shards.search(query, top=20)
        assert answer["not_asked"] == []
        assert without_numbers(answer) == without_numbers(one.search(query, top=20)), query
    assert any(word["counts"] for word in one.search("a red circle")["words"])

    with pytest.raises(ValueError, match="query"):
        shards.search('"')
    broken = uard.ray.Shards([folders[0], tmp_path / "nothing"]).search("a circle")
    [missing] = broken["not_asked"]
    assert missing["photos"] is None and "no index of photos" in missing["reason"]
    with pytest.raises((OSError, ValueError), match="no index of photos"):
        uard.ray.Shards([tmp_path / "nothing"]).search("a circle")
    ray.kill(shards._actors[1], no_restart=False)
    answer = shards.search("a red circle")
    if answer["not_asked"]:
        [missing] = answer["not_asked"]
        assert (missing["index"], missing["photos"]) == (str(folders[1]), 40)
        assert missing["reason"] and answer["searched"] == 240
    for _ in range(100):
        if shards.search("a red circle")["searched"] == 280:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the process that was killed was not started again")
    ray.kill(shards._actors[1], no_restart=True)
    answer = shards.search("a red circle", top=3)
    [missing] = answer["not_asked"]
    assert (missing["index"], missing["photos"]) == (str(folders[1]), 40)
    assert missing["reason"] == "its process died"
    assert answer["searched"] == 240 and len(answer["results"]) == 3


def test_a_dataset_of_bytes_becomes_parquet_with_regions(place, photos, tmp_path):
    paths = sorted(photos.iterdir())[28:33]
    rows = [{"path": str(path), "bytes": path.read_bytes()} for path in paths]
    arguments = {
        "encoder": {"name": "vision-transformer", "weights": str(ENCODER), "regions": "all"},
        "model": str(place / "run"),
    }
    ray.data.from_items(rows).map_batches(
        uard.ray.Regions,
        fn_constructor_kwargs=arguments,
        compute=ray.data.ActorPoolStrategy(size=1),
        num_cpus=1,
    ).drop_columns(["bytes"]).write_parquet(str(tmp_path / "parquet"))
    found = ray.data.read_parquet(str(tmp_path / "parquet")).take_all()
    found.sort(key=lambda row: row["path"])
    alone = uard.Encoder(**arguments["encoder"]).regions(paths)
    model = uard.Model.load(place / "run")
    for row, photo in zip(found, alone, strict=True):
        assert row["error"] == photo["error"]
        regions = model.regions([photo["features"]])[0] if not photo["error"] else []
        np.testing.assert_array_equal(row["regions"], np.reshape(regions, row["regions"].shape))
        assert len(row["boxes"]) == len(regions)
    assert [bool(row["error"]) for row in found].count(True) == 1


def test_the_command_prints_what_it_did_and_refuses_wrong_arguments(place, photos, tmp_path):
    def run(*arguments):
        line = [sys.executable, "-m", "uard.ray", *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)

    address = ray.get_runtime_context().gcs_address
    missing = run("--address", address, "index", "nowhere", "--model", place / "run", "--parts", "p")
    assert missing.returncode == 1
    assert "error: cannot open" in missing.stderr and "nowhere" in missing.stderr
    assert run("search").returncode == 2
    weights = ["--weights", tmp_path / "no weights"]
    arguments = ["--model", place / "run", "--parts", "p", *weights]
    missing = run("--address", address, "index", photos, *arguments)
    message = missing.stderr.splitlines()[-1]
    assert missing.returncode == 1 and message.startswith("error: 1 of 1 blocks failed"), message
    assert "no weights" in message
    missing = run("--address", address, "search", "dog", "--parts", "nowhere")
    assert "error: expected the folders" in missing.stderr
    arguments = ["--data", place / "data", "--split", "dev", "--out", "lists.npz", "--k", "3"]
    found = run("--address", address, "match", "--model", place / "scenes", *arguments)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["images"] == 40
    assert np.load(tmp_path / "lists.npz")["captions"].shape == (40, 3)
