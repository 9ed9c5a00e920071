"""`uard.ray` on two raylets of this machine."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("ray.data")

import ray
import ray.cluster_utils

import uard
import uard.ray
from conftest import ENCODER, succeeds

SETTINGS = {"encoder": "vision-transformer", "weights": ENCODER, "regions": "all"}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    found = ray.cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    found.add_node(num_cpus=1)
    ray.init(address=found.address, log_to_driver=False)
    yield
    ray.shutdown()
    found.shutdown()


@pytest.fixture(scope="module")
def photos(scenes):
    """200 photos, and two files that are none."""
    folder = scenes / "all photos"
    folder.mkdir()
    for path in sorted((scenes / "data/images").glob("train_*.png")):
        os.link(path, folder / path.name)
    (folder / "train_00030b.png").write_text("no photo")
    (folder / "zzz.png").write_text("")
    return folder


@pytest.fixture(scope="module")
def parts(scenes):
    """The three splits of the scenes as parts of one index."""
    folder = scenes / "parts"
    for number, split in enumerate(["train", "dev", "test"], 1):
        line = f"index --data data --split {split} --model run --index parts/part-{number}-of-3"
        succeeds(scenes, *line.split())
    return folder


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_store_of_many_workers_has_the_bytes_of_one_even_if_one_is_killed(
    photos, tmp_path, monkeypatch
):
    encoder = uard.Encoder("vision-transformer", ENCODER, regions="all")
    one = encoder.extract(uard.PhotoList.open(photos), tmp_path / "one")
    assert one == {"images": 200, "unreadable": 2}
    killed = tmp_path / "killed"

    class Killed(uard.ray._Extract):
        def __call__(self, row):
            if row["part"] == "5/8" and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(row)

    monkeypatch.setattr(uard.ray, "_Extract", Killed)
    # As a call that was stopped leaves it.
    place = {"split": "photos", "part": "2/8"}
    encoder.extract(uard.PhotoList.open(photos), tmp_path / "many", **place)
    with pytest.raises(ValueError, match="8 parts of photos were begun"):
        uard.ray.extract(photos, tmp_path / "many", parts=7, **SETTINGS)
    many = uard.ray.extract(photos, tmp_path / "many", **SETTINGS)
    assert killed.exists()
    assert many == one
    assert files(tmp_path / "many/photos_store") == files(tmp_path / "one/photos_store")
    assert os.listdir(tmp_path / "many") == ["photos_store"]

    class Deadly(uard.ray._Extract):
        def __call__(self, row):
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(uard.ray, "_Extract", Deadly)
        patched.setattr(uard.ray, "DEATHS_OF_A_PART", 2)
        with pytest.raises(RuntimeError, match="a worker died 2 times at one part"):
            uard.ray.extract(photos, tmp_path / "deadly", parts=1, **SETTINGS)

    monkeypatch.setattr(uard.ray, "_run", None)
    assert uard.ray.extract(photos, tmp_path / "many", **SETTINGS) == one
    for wrong in [{"parts": 0}, {"workers": -1}, {"regions": "7"}]:
        with pytest.raises(ValueError):
            uard.ray.extract(photos, tmp_path / "other", **SETTINGS | wrong)


def test_parts_of_an_index_follow_the_folders_and_keep_what_is_not_mounted(
    photos, photo_run, tmp_path
):
    few, disk = tmp_path / "few", tmp_path / "disk"
    for folder, some in [(few, slice(60)), (disk, slice(60, 70))]:
        folder.mkdir()
        for path in sorted(photos.iterdir())[some]:
            os.link(path, folder / path.name)
    counts = uard.ray.index([few, disk], tmp_path / "parts", model=photo_run, parts=3)
    assert (counts["new"], counts["unreadable"], counts["photos"]) == (69, 1, 69)
    [problem] = counts["problems"]
    assert "train_00030b.png" in problem
    whole = uard.Indexer(photo_run)
    whole.update(tmp_path / "whole", [few, disk])
    whole = uard.Index.open(tmp_path / "whole")
    adopt = ["index", "--index", "all", "--adopt", *sorted((tmp_path / "parts").iterdir())]
    succeeds(tmp_path, *adopt)
    index = uard.Index.open(tmp_path / "all")
    assert sorted(index.paths()) == sorted(whole.paths()) and len(index) == 69

    def similarities(found):
        return {it["path"]: it["similarity"] for it in found.search("a red circle", top=70)["results"]}

    assert similarities(index) == similarities(whole)

    gone = min(few.glob("*.png"))
    gone.unlink()
    os.link(photos / "train_00150.png", few / "new.png")
    for path in disk.iterdir():
        path.unlink()
    counts = uard.ray.index([few, disk], tmp_path / "parts", model=photo_run)
    assert (counts["new"], counts["removed"], counts["photos"]) == (1, 1, 69)
    assert any("no photo is there" in problem for problem in counts["problems"])

    # As a call that was killed leaves it.
    part = tmp_path / "parts/part-2-of-3"
    lost = [path for path in uard.Index.open(part).paths() if path.is_relative_to(few)]
    shutil.rmtree(part)
    counts = uard.ray.index([few, disk], tmp_path / "parts", model=photo_run)
    assert counts["new"] == len(lost) > 0
    with pytest.raises(ValueError, match="there are 3 parts, not 2"):
        uard.ray.index([few], tmp_path / "parts", model=photo_run, parts=2)


def test_lists_of_tiles_are_those_of_all_pairs(scenes, tmp_path, monkeypatch):
    arguments = [scenes / "run", scenes / "data", "train", tmp_path / "lists.npz"]

    class Stopped(uard.ray._Match):
        def __call__(self, row):
            super().__call__(row)
            raise ValueError("stopped")

    with monkeypatch.context() as stopped:
        stopped.setattr(uard.ray, "_Match", Stopped)
        with pytest.raises(ValueError, match="4 of 4 parts failed.*stopped"):
            uard.ray.match(*arguments)
    [work] = (tmp_path / "lists.npz.work").iterdir()
    assert len(list(work.iterdir())) == 8
    found = uard.ray.match(*arguments)
    split = uard.Split.open(scenes / "data", "train")
    model = uard.Model.load(scenes / "run")
    regions = model.regions(split.features(0, len(split)))
    best = model.search().top_k(regions, model.words(split.captions), 10)
    saved = np.load(tmp_path / "lists.npz")
    for name in ["captions", "caption_similarities", "images", "image_similarities"]:
        np.testing.assert_array_equal(found[name], getattr(best, name))
        np.testing.assert_array_equal(saved[name], found[name])
    assert os.listdir(tmp_path) == ["lists.npz"]
    for wrong in [{"k": 0}, {"image_parts": 0}, {"precision": "f8"}]:
        with pytest.raises(ValueError):
            uard.ray.match(*arguments, **wrong)
    with pytest.raises(ValueError, match="a folder is here"):
        uard.ray.match(*arguments[:3], tmp_path)


def test_shards_answer_as_one_index_and_say_which_of_them_do_not(scenes, photo_run, parts, tmp_path):
    folders = sorted(parts.iterdir())
    counts = uard.adopt_indexes(tmp_path / "one", folders)
    assert counts["new"] == counts["photos"] == 280
    one, shards = uard.Index.open(tmp_path / "one"), uard.ray.Shards(folders)

    def without_numbers(answer):
        own = ["id", "index"]
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
    uard.Indexer(photo_run).update(tmp_path / "foreign", sorted((scenes / "data/images").iterdir())[:3])
    with pytest.raises(ValueError, match="foreign: made by another model"):
        uard.ray.Shards([folders[0], tmp_path / "foreign"]).search("a circle")
    relearned = shutil.copytree(folders[1], tmp_path / "relearned")
    words = relearned / "model" / "words.safetensors"
    words.write_bytes(words.read_bytes()[:-4] + bytes(4))
    with pytest.raises(ValueError, match="relearned: judges words otherwise"):
        uard.ray.Shards([folders[0], relearned]).search("a circle")
    for wrong in [[], [folders[0], folders[0]]]:
        with pytest.raises(ValueError, match="folders"):
            uard.ray.Shards(wrong)
    ray.kill(shards._actors[1], no_restart=False)
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


def test_a_dataset_of_bytes_becomes_parquet_with_regions(photos, photo_run, tmp_path):
    paths = sorted(photos.iterdir())[28:33]
    rows = [{"path": str(path), "bytes": path.read_bytes()} for path in paths]
    arguments = {
        "encoder": {"name": "vision-transformer", "weights": str(ENCODER), "regions": "all"},
        "model": str(photo_run),
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
    model = uard.Model.load(photo_run)
    for row, photo in zip(found, alone, strict=True):
        assert row["error"] == photo["error"]
        regions = model.regions([photo["features"]])[0] if not photo["error"] else []
        np.testing.assert_array_equal(row["regions"], np.reshape(regions, row["regions"].shape))
        assert len(row["boxes"]) == len(regions)
    assert [bool(row["error"]) for row in found].count(True) == 1


def test_the_command_prints_what_it_did_and_refuses_wrong_arguments(
    scenes, photos, photo_run, parts, tmp_path
):
    address = ray.get_runtime_context().gcs_address

    def run(*arguments, address=address):
        line = [sys.executable, "-m", "uard.ray", "--address", address, *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)

    def refused(*arguments, **address):
        result = run(*arguments, **address)
        assert result.returncode in [1, 2], result
        return result.stderr.splitlines()[-1]

    nowhere = refused("search", "dog", "--folder", "p", address="127.0.0.1:1")
    assert nowhere.startswith("error: no Ray cluster answers at 127.0.0.1:1: ")
    index = ["index", photos, "--model", photo_run, "--folder", "p", "--parts", "1"]
    assert "no weights" in refused(*index, "--weights", tmp_path / "no weights")
    assert refused("search", "dog", "--folder", "p9").startswith("error: p9: expected indexes")
    assert "expected a number" in refused(*index[:-1], "x")
    found = run(*index)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["new"] == 200
    arguments = ["--data", scenes / "data", "--split", "dev", "--out", "lists.npz", "--k", "3"]
    found = run("match", "--model", scenes / "run", *arguments)
    assert json.loads(found.stdout)["images"] == 40
    assert np.load(tmp_path / "lists.npz")["captions"].shape == (40, 3)
    (parts / "part-2-of-3").rename(tmp_path / "elsewhere")
    answer = json.loads(run("search", "a red circle", "--folder", parts).stdout)
    (tmp_path / "elsewhere").rename(parts / "part-2-of-3")
    [missing] = answer["not_asked"]
    assert missing["index"] == str(parts / "part-2-of-3") and answer["searched"] == 240
