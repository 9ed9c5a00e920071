"""The work of uard on many machines, with Ray: `python -m uard.ray --help`.

Photos and results are files on a disk that all machines see: parts of the work are sent as paths and numbers,
not as pixels. If a worker dies, only its part is computed again. The same call again continues, because what is
on the disk is not computed again. Each worker holds one model.

    pip install "uard[ray]"
    python -m uard.ray extract --encoder resnet50 --weights resnet50.safetensors --images photos --out data
    python -m uard.ray index ~/Pictures --model runs/mine --folder parts
    python -m uard.ray search "a dog on the beach" --folder parts
    python -m uard.ray match --model runs/mine --data data --split test --out lists.npz
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import numpy as np

try:
    import ray
    import ray.data
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("uard.ray needs Ray: pip install 'ray[data]'") from error

from . import Encoder, Index, Indexer, Model, PackedRegions, PackedWords, PhotoList, Split
from . import join_stores, set_threads

PHOTOS_IN_A_PART = 256
DEATHS_OF_A_PART = 5
"""How often the worker of one part may die before the call ends."""


def extract(
    images, out, *, encoder, weights, split="photos", element="f32", parts=None, workers=None, **settings
):
    """Stores the features of photos in `out/{split}_store`: the bytes of `uard extract`.

    images: a folder, a list with a path on each line, or one photo.
    encoder, weights, settings: those of `uard.Encoder`.
    parts: into how many parts the list is cut. Each is a store of its own until all are joined. Without it as
        many as an earlier call has begun, or one for 256 photos.
    workers: how many processes; without it one for each processor of the cluster.
    Returns how many images were stored and how many photos cannot be read.
    """
    _expect_positive(parts=parts, workers=workers)
    images, out = _absolute(images), _absolute(out)
    photos = PhotoList.open(images)
    begun = _numbered(Path(out), f"{split}-", "_store")
    parts = min(len(photos), parts or begun or -(-len(photos) // PHOTOS_IN_A_PART))
    if begun not in (None, parts):
        raise ValueError(
            f"{out}: {begun} parts of {split} were begun here, not {parts}; continue them, or remove them"
        )
    encoder = {"name": encoder, "weights": _weights(weights), **settings}
    place = {"out": out, "split": split, "element": element}
    # Wrong arguments are refused before workers start.
    opened = Encoder(**encoder)
    if begun is None and (Path(out) / f"{split}_store").exists():
        return opened.extract(photos, **place)
    arguments = {"images": images, "encoder": encoder, "place": place}
    _run(_Extract, arguments, [{"part": f"{number}/{parts}"} for number in range(1, parts + 1)], workers)
    stored = join_stores(out, [out], split=split)
    for number in range(1, parts + 1):
        shutil.rmtree(Path(out) / f"{split}-{number}-of-{parts}_store")
    return stored


def index(paths, folder, *, model, parts=None, workers=None, **settings):
    """Indexes photos into several indexes, `folder/part-3-of-8`, each of which `uard` can open.

    `Shards` searches them together; `uard index --adopt folder/part-*` makes one index of them.

    paths: folders and single photos. A photo belongs to a part by its path, so that a repeated call encodes
        new and changed photos only. Each worker reads the folders.
    model, settings: those of `uard.Indexer`.
    parts: how many; without it as many as there are already, or one for each worker.
    Returns the sums of what `uard.Indexer.update` returns.
    """
    _expect_positive(parts=parts, workers=workers)
    paths = [_absolute(path) for path in _listed(paths)]
    folder = _absolute(folder)
    begun = _numbered(Path(folder), "part-", "")
    if parts and begun not in (None, parts):
        raise ValueError(f"{folder}: there are {begun} parts, not {parts}; remove them first")
    if settings.get("weights"):
        settings["weights"] = _weights(settings["weights"])
    Indexer(model, **settings)
    _start()
    parts = parts or begun or workers or _processors()
    rows = [
        {"folder": f"{folder}/part-{number}-of-{parts}", "part": f"{number}/{parts}", "paths": paths}
        for number in range(1, parts + 1)
    ]
    arguments = {"model": _absolute(model), "settings": settings}
    counts = _run(_Index, arguments, rows, workers)
    problems = sorted({problem for count in counts for problem in count.pop("problems")})
    return {key: sum(count[key] for count in counts) for key in counts[0]} | {"problems": problems}


def match(
    model,
    data,
    split,
    out,
    *,
    k=10,
    image_parts=2,
    caption_parts=2,
    precision="exact",
    workers=None,
):
    """Finds the k best captions of each image of a split and the k best images of each caption.

    image_parts, caption_parts: into how many parts images and captions are cut. Each pair of parts is a task.
    Writes an npz with `captions` and `caption_similarities` [I, k], `images` and `image_similarities`
    [C, k], and `image_of_caption` [C]: the lists of `uard.top_k` of all. Returns it as a dict.
    """
    _expect_positive(k=k, image_parts=image_parts, caption_parts=caption_parts, workers=workers)
    if os.path.isdir(out):
        raise ValueError(f"{out}: a folder is here; expected the path of an npz to write")
    opened, loaded = Split.open(data, split), Model.load(model)
    loaded.search(precision=precision)
    cuts = [_cuts(len(opened), image_parts), _cuts(len(opened.captions), caption_parts)]
    identity = [loaded.identity, _states(data, split), precision, k]
    work = Path(_absolute(out) + ".work") / _digest(identity)
    work.mkdir(parents=True, exist_ok=True)
    arguments = {
        "model": _absolute(model),
        "data": _absolute(data),
        "split": split,
        "precision": precision,
    }
    packed = [
        {"kind": kind, "start": start, "stop": stop, "path": str(work / f"{kind}-{start}-{stop}")}
        for kind, cut in zip(["regions", "words"], cuts)
        for start, stop in cut
    ]
    _run(_Pack, arguments, packed, workers)

    def lists(images, captions):
        return work / f"lists-{images[0]}-{images[1]}-{captions[0]}-{captions[1]}.npz"

    tiles = [
        {
            "regions": str(work / f"regions-{images[0]}-{images[1]}"),
            "words": str(work / f"words-{captions[0]}-{captions[1]}"),
            "path": str(lists(images, captions)),
        }
        for images in cuts[0]
        for captions in cuts[1]
    ]
    _run(_Match, {"model": arguments["model"], "precision": precision, "k": k}, tiles, workers)
    best = {"captions": [], "caption_similarities": [], "images": [], "image_similarities": []}
    for images in cuts[0]:
        found = [(np.load(lists(images, captions)), captions[0]) for captions in cuts[1]]
        _append_best(best, "captions", "caption_similarities", found, k)
    for captions in cuts[1]:
        found = [(np.load(lists(images, captions)), images[0]) for images in cuts[0]]
        _append_best(best, "images", "image_similarities", found, k)
    found = {name: np.concatenate(arrays) for name, arrays in best.items()}
    found["image_of_caption"] = np.array(opened.image_of_caption, np.int64)
    _save(out, found)
    shutil.rmtree(work)
    with contextlib.suppress(OSError):
        work.parent.rmdir()
    return found


class Shards:
    """Several indexes that one model made, each open in a process of its own, which answer as one.

    folders: the folders of indexes; none of them holds a photo of another.
    """

    def __init__(self, folders):
        self.folders = [_absolute(folder) for folder in _listed(folders)]
        if not self.folders:
            raise ValueError("folders: expected the folders of one or more indexes")
        if len(set(self.folders)) < len(self.folders):
            raise ValueError("folders: an index is named twice")
        _start()
        # No processor is reserved for an index, because there may be more indexes than processors.
        actor = ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy="SPREAD")(_Shard)
        self._actors = [actor.remote(folder) for folder in self.folders]
        self._photos = {}

    def search(self, query, top=10, seconds=60.0):
        """The best photos of all indexes, as `uard.Index.search` gives those of one.

        Each result names its `index`; results that are equally good are in the order of the indexes.
        `not_asked` lists the indexes that gave no answer within `seconds`: `index`, how many `photos` it had
        when it answered last, None if it never did, and the `reason`. The counts and results are those of the
        others. There is no `cursor`.

        Raises the error of an index if none gives an answer, and ValueError for indexes of different models, or
        with different words.safetensors.
        """
        calls = [actor.search.remote(query, top) for actor in self._actors]
        ray.wait(calls, num_returns=len(calls), timeout=seconds)
        answers, not_asked, errors = [], [], []
        models, words = {}, {}
        for folder, call in zip(self.folders, calls):
            try:
                found = ray.get(call, timeout=0)
            except (ray.exceptions.RayError, OSError, ValueError) as error:
                errors.append(error)
                photos = self._photos.get(folder)
                not_asked.append({"index": folder, "photos": photos, "reason": _reason(error)})
                continue
            self._photos[folder] = found["photos"]
            models.setdefault(found["model"], folder)
            words.setdefault(found["words"], folder)
            answers.append((folder, found["answer"]))
        if not answers:
            raise _cause(errors[0])
        if len(models) > 1:
            first, other, *_ = models.values()
            raise ValueError(f"{other}: made by another model than {first}; their answers cannot be merged")
        if len(words) > 1:
            first, other, *_ = words.values()
            raise ValueError(
                f"{other}: judges words otherwise than {first}, so their answers cannot be merged; "
                "copy model/words.safetensors from one to the other"
            )
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
        # Another instance in this process may have computed already.
        with contextlib.suppress(ValueError):
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
        return self.indexer.update(row["folder"], list(row["paths"]), part=row["part"])


class _Pack:
    def __init__(self, model, data, split, precision):
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


class _Match:
    def __init__(self, model, precision, k):
        self.search = Model.load(model).search(precision=precision)
        self.k = k

    def __call__(self, row):
        path = Path(row["path"])
        if not path.exists():
            regions, words = PackedRegions.open(row["regions"]), PackedWords.open(row["words"])
            best = self.search.top_k(regions, words, self.k)
            names = ["captions", "caption_similarities", "images", "image_similarities"]
            _save(path, {name: getattr(best, name) for name in names})


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
        if self.index is None:
            index = Index.open(self.folder)
            words = Path(self.folder, "model", "words.safetensors").read_bytes()
            self.words = hashlib.sha256(words).hexdigest()
            self.index = index
        answer = self.index.search(query, top)
        return {"answer": answer, "model": self.index.model, "words": self.words, "photos": len(self.index)}


def _start():
    if not ray.is_initialized():
        ray.init(log_to_driver=False)


def _run(kind, arguments, rows, workers):
    """Calls `kind(**arguments)` on each of `rows`, one row a task, and returns what it returns.

    Raises ValueError with the first error, after all other rows are done, and RuntimeError if workers die at the
    same row again and again.
    """
    _start()
    size = min(workers or _processors(), len(rows))
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        _Worker,
        fn_constructor_kwargs={"kind": kind, "arguments": arguments},
        compute=ray.data.ActorPoolStrategy(size=size),
        num_cpus=1,
        max_task_retries=DEATHS_OF_A_PART - 1,
    )
    try:
        done = dataset.take_all()
    except ray.exceptions.RayActorError as error:
        raise RuntimeError(
            f"a worker died {DEATHS_OF_A_PART} times at one part, perhaps for lack of memory; what other "
            "parts have written is kept, and the same call continues"
        ) from error
    errors = [row["error"] for row in done if row["error"]]
    if errors:
        raise ValueError(
            f"{len(errors)} of {len(rows)} parts failed; repeat the call when this is mended: {errors[0]}"
        )
    return [json.loads(row["result"]) for row in done]


def _processors():
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _expect_positive(**numbers):
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"{name}: found {number}, expected a number from 1 on")


def _listed(paths):
    return [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)


def _absolute(path):
    return os.path.abspath(path)


def _weights(weights):
    """Weights as all workers find them: their folders differ."""
    return weights if str(weights).startswith("hf:") else _absolute(weights)


def _numbered(folder, before, after):
    """N of the files `{before}K-of-N{after}` in a folder; None if there is no such file."""
    name = re.compile(re.escape(before) + r"[1-9]\d*-of-([1-9]\d*)" + re.escape(after))
    names = sorted(path.name for path in folder.glob(f"{before}*")) if folder.is_dir() else []
    found = {name: int(match[1]) for name, match in ((it, name.fullmatch(it)) for it in names) if match}
    if len(set(found.values())) > 1:
        first, *_, last = sorted(found, key=found.get)
        raise ValueError(f"{folder}: {first} and {last} are parts of different numbers of parts")
    return next(iter(found.values()), None)


def _parts(folder):
    """The folders of all part indexes, the missing ones included, which are reported by a search."""
    count = _numbered(Path(folder), "part-", "")
    if count is None:
        raise ValueError(f"{folder}: expected indexes named part-1-of-N, found none")
    return [Path(folder) / f"part-{number}-of-{count}" for number in range(1, count + 1)]


def _states(data, split):
    """Name, size and time of all files of a split, by which a change is recognised."""
    found = sorted(Path(data).glob(f"{split}_*"))
    files = [path for parent in found for path in [parent, *sorted(parent.glob("*"))]]
    states = [(str(path.relative_to(data)), path.stat()) for path in files]
    return [(name, state.st_size, state.st_mtime_ns) for name, state in states]


def _cuts(entries, parts):
    """Consecutive ranges of about equal length."""
    ends = [entries * number // parts for number in range(parts + 1)]
    return [(start, stop) for start, stop in zip(ends, ends[1:]) if stop > start]


def _digest(values):
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _save(path, arrays):
    """Writes an npz, or nothing."""
    path = Path(path)
    file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)
    try:
        with file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, path)
    except BaseException:
        os.unlink(file.name)
        raise


def _append_best(best, indices, similarities, tiles, k):
    """Merges the lists of the tiles of one row: the highest similarity first, then the lowest index."""
    found = np.concatenate([lists[indices] + first for lists, first in tiles], axis=1)
    values = np.concatenate([lists[similarities] for lists, _ in tiles], axis=1)
    order = np.lexsort((found, -values))[:, :k]
    best[indices].append(np.take_along_axis(found, order, axis=1))
    best[similarities].append(np.take_along_axis(values, order, axis=1))


def _order(result):
    return len(result["missing"]), result["doubtful"], -result["score"]


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
    answer["results"] = sorted(results, key=_order)[:top]
    return answer


def _reason(error):
    match error:
        case ray.exceptions.GetTimeoutError():
            return "no answer in time"
        case ray.exceptions.ActorDiedError():
            return "its process died"
        case _:
            return str(_cause(error)).splitlines()[0]


def _cause(error):
    """The exception that a worker raised, without Ray's exception around it."""
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
    one.add_argument("--parts", type=_positive, help="default: one for 256 photos")

    one = command("index", "photos into several indexes")
    one.add_argument("paths", nargs="+", help="folders and single photos")
    one.add_argument("--model", required=True, help="a run or checkpoint")
    one.add_argument("--folder", required=True, help="the folder of the indexes, part-1-of-N and so on")
    one.add_argument("--parts", type=_positive, help="default: as there are already, or one a worker")
    one.add_argument("--weights", help="those of the encoder of photos")
    one.add_argument("--matmul", choices=["f32", "bf16"])
    one.add_argument("--precision", choices=["f32", "bf16", "exact"])

    one = command("match", "the best captions of each image and the best images of each caption")
    one.add_argument("--model", required=True, help="a run or checkpoint")
    one.add_argument("--data", required=True, help="a data directory")
    one.add_argument("--split", default="test")
    one.add_argument("--out", required=True, help="an npz")
    one.add_argument("--k", type=_positive, default=10)
    one.add_argument("--image-parts", type=_positive, default=2)
    one.add_argument("--caption-parts", type=_positive, default=2)
    one.add_argument("--precision", choices=["f32", "bf16", "exact"], default="exact")

    one = commands.add_parser("search", help="the best photos of all indexes in a folder, as JSON")
    one.add_argument("query")
    one.add_argument("--folder", required=True, help="the folder of the indexes")
    one.add_argument("--top", type=_positive, default=10)
    return vars(parser.parse_args())


def _positive(text):
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a number from 1 on")
    return number


def _call(command, arguments):
    if command == "search":
        folders = _parts(arguments["folder"])
        return Shards(folders).search(arguments["query"], arguments["top"])
    if command == "extract":
        return extract(**arguments)
    if command == "index":
        settings = {key: value for key, value in arguments.items() if value is not None}
        return index(**settings)
    found = match(**arguments)
    images, captions = len(found["captions"]), len(found["images"])
    return {"images": images, "captions": captions, "out": arguments["out"]}


def _expect_cluster(address):
    """Raises OSError if nothing listens at an address HOST:PORT, where ray.init would wait for minutes."""
    address = address or os.environ.get("RAY_ADDRESS")
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not (colon and port.isdigit()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise OSError(f"no Ray cluster answers at {address}: {error}") from error


def main():
    arguments = _arguments()
    address, command = arguments.pop("address"), arguments.pop("command")
    try:
        _expect_cluster(address)
        ray.init(address=address, log_to_driver=False)
        print(json.dumps(_call(command, arguments), indent=2))
    except KeyboardInterrupt:
        print("stopped: what is written is kept; the same command continues", file=sys.stderr)
        sys.exit(130)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        sys.exit(f"error: {_cause(error)}")


if __name__ == "__main__":
    main()
