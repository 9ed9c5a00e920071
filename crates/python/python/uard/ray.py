"""The work of uard on many machines, with Ray: `python -m uard.ray --help`.

Photos and results are files on a disk that all machines see: blocks of work are sent as paths and numbers,
not as pixels. A worker that dies costs its block; the same call again continues, because what is on the disk
is not computed again. Workers hold one model each.

    pip install uard[ray]
    python -m uard.ray extract --encoder resnet50 --weights resnet50.safetensors --images photos --out data
    python -m uard.ray index ~/Pictures --model runs/mine --parts parts --index photos-index
    python -m uard.ray match --model runs/mine --data data --split test --out lists.npz
    python -m uard.ray search "a dog on the beach" --parts parts
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np

try:
    import ray
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("uard.ray needs Ray: pip install 'ray[data]'") from error

from . import Encoder, Index, Indexer, Model, PackedRegions, PackedWords, PhotoList, Split
from . import adopt_indexes, join_stores, set_threads

PHOTOS_IN_A_BLOCK = 256
PHOTOS_IN_A_PART = 10_000


def extract(
    images, out, *, encoder, weights, split="photos", element="f32", blocks=None, workers=None, **settings
):
    """Stores the features of photos in `out/{split}_store`: the bytes of `uard extract`.

    images: a folder, a list with a path on each line, or one photo.
    encoder, weights, settings: those of `uard.Encoder`.
    blocks: in how many parts the list is cut; each is a store of its own until all are joined.
    workers: how many processes; all processors of the cluster if None.
    Returns how many images were stored and how many photos cannot be read.
    """
    images, out = _absolute(images), _absolute(out)
    photos = PhotoList.open(images)
    blocks = min(len(photos), blocks or -(-len(photos) // PHOTOS_IN_A_BLOCK))
    encoder = {"name": encoder, "weights": str(weights), **settings}
    place = {"out": out, "split": split, "element": element}
    arguments = {"images": images, "encoder": encoder, "place": place}
    # Wrong arguments are refused before workers start.
    opened = Encoder(**encoder)
    if _is_complete(Path(out) / f"{split}_store"):
        return opened.extract(photos, **place)
    parts = [{"part": f"{number}/{blocks}"} for number in range(1, blocks + 1)]
    _run(_Extract, arguments, parts, workers)
    stored = join_stores([out], out, split=split)
    for number in range(1, blocks + 1):
        shutil.rmtree(Path(out) / f"{split}-{number}-of-{blocks}_store")
    return stored


def index(paths, parts, *, model, index=None, blocks=None, workers=None, **settings):
    """Indexes photos into several indexes, `parts/part-3-of-8`, each of which `uard` can open.

    paths: folders and single photos. A photo stays in its part, so a repeated call encodes new and changed
        photos only. Photos that are in no folder any more are removed.
    model, settings: those of `uard.Indexer`.
    index: an index that adopts all parts, without encoding a photo again; none if None.
    blocks: how many parts; as many as there are already, or one for 10,000 photos, if None.
    Returns counts, as `uard.Indexer.update`, and under `photos` how many photos there are.
    """
    photos = Indexer.photos([_absolute(path) for path in paths])
    Indexer(model, **settings)
    if not photos:
        raise ValueError(f"{', '.join(map(str, paths))}: no photo was found")
    parts = Path(_absolute(parts))
    folders = _parts(parts)
    blocks = blocks or len(folders) or -(-len(photos) // PHOTOS_IN_A_PART)
    names = [parts / f"part-{number + 1}-of-{blocks}" for number in range(blocks)]
    if strange := [folder for folder in folders if folder not in names]:
        raise ValueError(
            f"{strange[0]}: part of another number of parts than {blocks}; remove the parts, or "
            "give --blocks as for them"
        )
    rows = [{"folder": str(name), "photos": []} for name in names]
    for photo in photos:
        rows[zlib.crc32(os.fsencode(photo)) % blocks]["photos"].append(os.fspath(photo))
    for row in rows:
        if not row["photos"]:
            shutil.rmtree(row["folder"], ignore_errors=True)
    rows = [row for row in rows if row["photos"]]
    arguments = {"model": _absolute(model), "settings": settings}
    counts = _run(_Index, arguments, rows, workers)
    if index is not None:
        adopt_indexes(_absolute(index), [row["folder"] for row in rows])
    return {key: sum(count[key] for count in counts) for key in counts[0]}


def match(
    model, data, split, out, *, k=10, blocks=(2, 2), precision="exact", workers=None
):
    """Finds the k best captions of each image of a split and the k best images of each caption.

    blocks: into how many blocks images and captions are cut. Each pair of blocks is a task.
    Writes an npz with `captions` and `caption_similarities` [I, k], `images` and `image_similarities`
    [C, k], and `image_of_caption` [C]: the lists of `uard.top_k` of all. Returns it as a dict.
    """
    opened = Split.open(data, split)
    images, captions = len(opened), len(opened.captions)
    cuts = [_cuts(images, blocks[0]), _cuts(captions, blocks[1])]
    identity = [Model.load(model).identity, opened.identity, precision]
    work = Path(_absolute(out) + ".work") / _digest(identity)
    work.mkdir(parents=True, exist_ok=True)
    arguments = {
        "model": _absolute(model),
        "data": _absolute(data),
        "split": split,
        "precision": precision,
        "k": k,
    }
    packed = [
        {"kind": kind, "start": start, "stop": stop, "path": str(work / f"{kind}-{start}-{stop}")}
        for kind, cut in zip(["regions", "words"], cuts)
        for start, stop in cut
    ]
    _run(_Pack, arguments, packed, workers)
    tiles = [
        {
            "regions": str(work / f"regions-{first}-{last}"),
            "words": str(work / f"words-{start}-{stop}"),
            "path": str(work / f"lists-{k}-{first}-{last}-{start}-{stop}.npz"),
        }
        for first, last in cuts[0]
        for start, stop in cuts[1]
    ]
    _run(_Match, arguments, tiles, workers)

    def lists(first, last, start, stop):
        return np.load(work / f"lists-{k}-{first}-{last}-{start}-{stop}.npz")

    best = {"captions": [], "caption_similarities": [], "images": [], "image_similarities": []}
    for row in cuts[0]:
        tiles = [(lists(*row, *column), column[0]) for column in cuts[1]]
        _append_best(best, "captions", "caption_similarities", tiles, k)
    for column in cuts[1]:
        tiles = [(lists(*row, *column), row[0]) for row in cuts[0]]
        _append_best(best, "images", "image_similarities", tiles, k)
    found = {name: np.concatenate(arrays) for name, arrays in best.items()}
    found["image_of_caption"] = np.array(opened.image_of_caption, np.int64)
    _save(out, found)
    shutil.rmtree(work.parent)
    return found


class Shards:
    """Several indexes, each open in a process of its own, that answer as one.

    folders: the folders of indexes; none of them holds a photo of another.
    """

    def __init__(self, folders):
        _start()
        if not folders:
            raise ValueError("expected the folders of one or more indexes")
        self.folders = [_absolute(folder) for folder in folders]
        # Indexes may outnumber processors; each answers in milliseconds.
        actor = ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy="SPREAD")(_Shard)
        self._actors = [actor.remote(folder) for folder in self.folders]

    def search(self, query, top=10, seconds=60.0):
        """The best photos of all indexes, as `uard.Index.search` gives those of one.

        Each result names its `index`. `not_asked` lists the indexes that gave no answer within `seconds`:
        `index`, how many `photos` it has, None if that is unknown, and the `reason`. The counts and results
        are those of the others. There is no `cursor`.

        Raises the error of an index if none gives an answer.
        """
        calls = [actor.search.remote(query, top) for actor in self._actors]
        ray.wait(calls, num_returns=len(calls), timeout=seconds)
        answers, not_asked, errors = [], [], []
        for folder, call in zip(self.folders, calls):
            try:
                answers.append((folder, ray.get(call, timeout=0)))
            except (ray.exceptions.RayError, OSError, ValueError) as error:
                errors.append(error)
                not_asked.append({"index": folder, "photos": _size(folder), "reason": _reason(error)})
        if not answers:
            raise _cause(errors[0])
        return {**_merged(answers, top), "not_asked": not_asked}


class Regions:
    """The regions of photos in a dataset of Ray, for pipelines of one's own:

        dataset.map_batches(
            uard.ray.Regions,
            fn_constructor_kwargs={"encoder": {"name": "resnet50", "weights": "resnet50.safetensors"}},
            batch_size=64,
            compute=ray.data.ActorPoolStrategy(size=4),
            num_cpus=1,
        ).write_parquet("features")

    A batch has a column `bytes` with the files of photos, or `path`. It gets `features` [R, F], `boxes`
    [R, 4], `width`, `height` and `error`, which is None unless a photo cannot be read; such a photo has no
    rows. With a model it gets `regions` [R, D], unit vectors of the joint space, instead of features.
    """

    def __init__(self, encoder, model=None, threads=1):
        set_threads(threads)
        self.encoder = Encoder(**encoder)
        self.model = model and Model.load(model)

    def __call__(self, batch):
        photos = [*batch["bytes"]] if "bytes" in batch else [*map(str, batch["path"])]
        found = self.encoder.regions(photos)
        readable = [photo for photo in found if photo["error"] is None]
        vectors = [photo["features"] for photo in readable]
        name, width = "features", self.encoder.width
        if self.model:
            name, width = "regions", self.model.width
            vectors = self.model.regions(vectors) if vectors else []
        for photo, rows in zip(readable, vectors):
            photo[name] = rows
        empty = {
            name: np.zeros((0, width), np.float32),
            "boxes": np.zeros((0, 4), np.float32),
            "width": 0,
            "height": 0,
        }
        for column, missing in empty.items():
            values = np.empty(len(found), object)
            values[:] = [photo.get(column, missing) for photo in found]
            batch[column] = values if np.ndim(missing) else values.astype(np.int64)
        batch["error"] = np.array([photo["error"] for photo in found], object)
        return batch


class _Extract:
    def __init__(self, images, encoder, place):
        self.encoder = Encoder(**encoder)
        self.photos = PhotoList.open(images)
        self.place = place

    def __call__(self, row):
        return self.encoder.extract(self.photos, part=row["part"], **self.place)


class _Index:
    def __init__(self, model, settings):
        self.indexer = Indexer(model, **settings)

    def __call__(self, row):
        return self.indexer.update(row["folder"], list(row["photos"]), elsewhere="removed")


class _Pack:
    def __init__(self, model, data, split, precision, k):
        self.model = Model.load(model)
        self.split = Split.open(data, split)
        self.precision = precision

    def __call__(self, row):
        path = Path(row["path"])
        if not path.exists():
            start, stop = row["start"], row["stop"]
            if row["kind"] == "regions":
                regions = self.model.regions(self.split.features(start, stop))
                packed = PackedRegions.pack(regions, precision=self.precision)
            else:
                words = self.model.words(self.split.captions[start:stop])
                packed = PackedWords.pack(words, precision=self.precision)
            packed.save(path)
        return {"path": row["path"]}


class _Match:
    def __init__(self, model, data, split, precision, k):
        self.search = Model.load(model).search(precision=precision)
        self.k = k

    def __call__(self, row):
        path = Path(row["path"])
        if not path.exists():
            regions, words = PackedRegions.open(row["regions"]), PackedWords.open(row["words"])
            best = self.search.top_k(regions, words, self.k)
            names = ["captions", "caption_similarities", "images", "image_similarities"]
            _save(path, {name: getattr(best, name) for name in names})
        return {"path": row["path"]}


class _Worker:
    """Calls `kind(**arguments)` on rows. Errors of files and values are results, so that other rows go on."""

    def __init__(self, kind, arguments):
        set_threads(1)
        self.kind, self.arguments = kind, arguments
        self.work = None

    def __call__(self, row):
        try:
            self.work = self.work or self.kind(**self.arguments)
            return {"result": json.dumps(self.work(row)), "error": ""}
        except (OSError, ValueError) as error:
            return {"result": "", "error": str(error)}


class _Shard:
    def __init__(self, folder):
        set_threads(1)
        self.folder = folder
        self.index = None

    def search(self, query, top):
        self.index = self.index or Index.open(self.folder)
        return self.index.search(query, top)


def _start():
    if not ray.is_initialized():
        ray.init(log_to_driver=False)


def _run(kind, arguments, rows, workers):
    """Calls `kind(**arguments)` on each of `rows`, one row a task, and returns what it returns.

    Raises ValueError with the first error, after all other rows are done.
    """
    _start()
    most = int(ray.cluster_resources().get("CPU", 1))
    size = max(1, min(workers or most, len(rows)))
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    done = dataset.map(
        _Worker,
        fn_constructor_kwargs={"kind": kind, "arguments": arguments},
        compute=ray.data.ActorPoolStrategy(size=size),
        num_cpus=1,
    ).take_all()
    errors = [row["error"] for row in done if row["error"]]
    if errors:
        raise ValueError(
            f"{len(errors)} of {len(rows)} blocks failed; repeat the call when this is mended: {errors[0]}"
        )
    return [json.loads(row["result"]) for row in done]


def _absolute(path):
    return os.path.abspath(path)


def _is_complete(store):
    try:
        return json.loads((store / "store.json").read_text())["complete"]
    except FileNotFoundError:
        return False


def _parts(parent):
    """The part indexes in a folder, by number."""
    found = [(re.fullmatch(r"part-(\d+)-of-\d+", path.name), path) for path in parent.glob("part-*")]
    return [path for name, path in sorted((int(name[1]), path) for name, path in found if name)]


def _cuts(entries, blocks):
    """Consecutive ranges of about equal length."""
    ends = [entries * number // blocks for number in range(blocks + 1)]
    return [(start, stop) for start, stop in zip(ends, ends[1:]) if stop > start]


def _digest(values):
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _save(path, arrays):
    """Writes an npz, or nothing."""
    part = f"{path}.{os.getpid()}.part"
    with open(part, "wb") as file:
        np.savez(file, **arrays)
    os.replace(part, path)


def _append_best(best, indices, similarities, tiles, k):
    """Merges the lists of the tiles of one row: the highest similarity first, then the lowest index."""
    found = np.concatenate([lists[indices] + first for lists, first in tiles], axis=1)
    values = np.concatenate([lists[similarities] for lists, _ in tiles], axis=1)
    order = np.lexsort((found, -values))[:, :k]
    best[indices].append(np.take_along_axis(found, order, axis=1))
    best[similarities].append(np.take_along_axis(values, order, axis=1))


def _place(result):
    """What results are sorted by, as the text of `place` has it."""
    missing, doubtful, _, _ = result["place"].split("-")
    return int(missing), int(doubtful), -result["similarity"]


def _merged(answers, top):
    """One answer of those of several indexes."""
    _, first = answers[0]
    answer = {**first, "cursor": None, "words": [dict(word) for word in first["words"]]}
    for _, other in answers[1:]:
        for count in ["searched", "found", "everything"]:
            answer[count] += other[count]
        for word, more in zip(answer["words"], other["words"]):
            word["photos"] += more["photos"]
        nothing = [term for term in answer["nothing_shows"] if term in other["nothing_shows"]]
        answer["nothing_shows"] = nothing
    perhaps = {term for _, other in answers for term in other["perhaps_shown"]}
    answer["perhaps_shown"] = [term for term in answer["nothing_shows"] if term in perhaps]
    results = [{**result, "index": folder} for folder, other in answers for result in other["results"]]
    answer["results"] = sorted(results, key=_place)[:top]
    return answer


def _size(folder):
    try:
        return len(Index.open(folder))
    except (OSError, ValueError):
        return None


def _reason(error):
    match error:
        case ray.exceptions.GetTimeoutError():
            return "no answer in time"
        case ray.exceptions.ActorDiedError():
            return "its process died"
        case _:
            return str(_cause(error)).splitlines()[0]


def _cause(error):
    """The error of a worker, without the story of how it came here."""
    return getattr(error, "cause", None) or error


def _arguments():
    parser = argparse.ArgumentParser(
        prog="python -m uard.ray", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--address", help="the cluster: auto, HOST:PORT; none starts Ray on this machine")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, help):
        added = commands.add_parser(name, help=help, description=help)
        added.add_argument("--workers", type=_positive, help="processes; default: all processors")
        return added

    one = command("extract", "features of photos into a store, as `uard extract`")
    one.add_argument("--encoder", required=True)
    one.add_argument("--weights", required=True)
    one.add_argument("--images", required=True, help="a folder, a list of paths, or one photo")
    one.add_argument("--out", required=True)
    one.add_argument("--split", default="photos")
    one.add_argument("--regions", default="36")
    one.add_argument("--matmul", choices=["f32", "bf16"], default="f32")
    one.add_argument("--element", choices=["f32", "f16"], default="f32")
    one.add_argument("--blocks", type=_positive, help="default: one for 256 photos")

    one = command("index", "photos into several indexes, and one that adopts them")
    one.add_argument("paths", nargs="+", help="folders and single photos")
    one.add_argument("--model", required=True, help="a run or checkpoint")
    one.add_argument("--parts", required=True, help="the folder of the indexes")
    one.add_argument("--index", help="an index that adopts all parts")
    one.add_argument("--weights", help="those of the encoder of photos")
    one.add_argument("--matmul", choices=["f32", "bf16"])
    one.add_argument("--precision", choices=["f32", "bf16", "exact"])
    one.add_argument("--blocks", type=_positive, help="default: one for 10,000 photos")

    one = command("match", "the best captions of each image and the best images of each caption")
    one.add_argument("--model", required=True, help="a run or checkpoint")
    one.add_argument("--data", required=True, help="a data directory")
    one.add_argument("--split", default="test")
    one.add_argument("--out", required=True, help="an npz")
    one.add_argument("--k", type=_positive, default=10)
    one.add_argument("--blocks", type=_positive, nargs=2, default=[2, 2], metavar=("IMAGES", "CAPTIONS"))
    one.add_argument("--precision", choices=["f32", "bf16", "exact"], default="exact")

    one = commands.add_parser("search", help="the best photos of all indexes in a folder, as JSON")
    one.add_argument("query")
    one.add_argument("--parts", required=True, help="the folder of the indexes")
    one.add_argument("--top", type=_positive, default=10)
    return vars(parser.parse_args())


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 1 on")
    return number


def _call(command, arguments):
    if command == "search":
        shards = Shards(_parts(Path(arguments["parts"])))
        return shards.search(arguments["query"], arguments["top"])
    if command == "extract":
        return extract(**arguments)
    if command == "index":
        settings = {key: value for key, value in arguments.items() if value is not None}
        return index(**settings)
    found = match(**arguments)
    images, captions = len(found["captions"]), len(found["images"])
    return {"images": images, "captions": captions, "out": arguments["out"]}


def main():
    arguments = _arguments()
    address, command = arguments.pop("address"), arguments.pop("command")
    ray.init(address=address, log_to_driver=False)
    try:
        print(json.dumps(_call(command, arguments), indent=2, default=str))
    except (OSError, ValueError, ray.exceptions.RayError) as error:
        sys.exit(f"error: {_cause(error)}")


if __name__ == "__main__":
    main()
