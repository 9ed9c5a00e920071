"""Similarities, lists, evidence and packed files, against NumPy and between precisions."""

import copy
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import uard


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture
def batch():
    draw = np.random.default_rng(0)
    regions = draw.standard_normal((7, 5, 16)).astype(np.float32)
    words = draw.standard_normal((9, 4, 16)).astype(np.float32)
    return regions, words, [5, 1, 2, 3, 4, 5, 5], [4, 3, 2, 1, 4, 4, 2, 3, 4]


def attended(queries, keys, threshold, temperature):
    """UARDA's answers of some queries, written as the formula is."""
    relevance = queries @ keys.T
    answers = []
    for row, query in zip(relevance, queries):
        above = row > threshold
        weights = np.where(above, np.exp(temperature * (row - row.max())), 0.0)
        vector = weights @ keys
        answers.append(query @ vector / np.linalg.norm(vector) if above.any() else 0.0)
    return np.mean(answers)


def by_formula(regions, words, threshold, temperature=10.0):
    return np.array(
        [
            [
                attended(w, r, threshold, temperature) + attended(r, w, threshold, temperature)
                for w in words
            ]
            for r in regions
        ]
    )


def valid(rows, counts):
    return [unit(entry[:count].astype(np.float64)) for entry, count in zip(rows, counts)]


def test_similarities_are_those_of_the_formula(batch):
    regions, words, region_counts, word_counts = batch
    expected = by_formula(valid(regions, region_counts), valid(words, word_counts), 0.1)
    for engine in ["auto", "scalar", "tensor", "reference"]:
        found = uard.similarities(
            regions, words, region_counts, word_counts, threshold=0.1, precision="f32", engine=engine
        )
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=2e-6, err_msg=engine)


def test_lists_of_arrays_and_other_layouts_give_the_same_bytes(batch):
    regions, words, region_counts, word_counts = batch
    search = uard.Search(0.1, precision="f32")
    expected = search.similarities((regions, region_counts), (words, word_counts))
    listed = search.similarities(
        [entry[:count] for entry, count in zip(regions, region_counts)],
        [entry[:count] for entry, count in zip(words, word_counts)],
    )
    doubled = np.repeat(regions, 2, axis=1)[:, ::2]
    strided = search.similarities(
        (doubled, region_counts), (words.astype(np.float64), word_counts)
    )
    assert expected.tobytes() == listed.tobytes() == strided.tobytes()


def test_padding_is_not_read(batch):
    regions, words, region_counts, word_counts = batch
    expected = uard.similarities(regions, words, region_counts, word_counts, threshold=0.1)
    for at, count in enumerate(region_counts):
        regions[at, count:] = np.nan
    found = uard.similarities(regions, words, region_counts, word_counts, threshold=0.1)
    assert found.tobytes() == expected.tobytes()


def test_lists_of_the_best_are_sorted_similarities_whatever_the_precision(batch):
    regions, words, region_counts, word_counts = batch
    similarities = uard.similarities(
        regions, words, region_counts, word_counts, threshold=0.1, precision="f32"
    )
    for precision in ["exact", "f32"]:
        best = uard.top_k(
            regions, words, 3, region_counts, word_counts, threshold=0.1, precision=precision
        )
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :3]
        np.testing.assert_array_equal(best.captions, order)
        order = np.argsort(-similarities.T, axis=1, kind="stable")[:, :3]
        np.testing.assert_array_equal(best.images, order)
        expected = np.take_along_axis(similarities.T, order, axis=1)
        np.testing.assert_array_equal(best.image_similarities, expected)


def test_candidates_have_the_similarities_of_all_pairs(batch):
    regions, words, region_counts, word_counts = batch
    search = uard.Search(0.1, precision="f32")
    similarities = search.similarities((regions, region_counts), (words, word_counts))
    candidates = np.random.default_rng(1).integers(0, 7, (9, 3))
    found = search.rerank((regions, region_counts), (words, word_counts), candidates)
    np.testing.assert_array_equal(found, np.take_along_axis(similarities.T, candidates, axis=1))


def test_evidence_names_the_best_region_of_each_word():
    regions = np.eye(4, dtype=np.float32)[None]
    words = np.array([[[0, 0, 1, 0.1], [-1, -1, -1, -1]]], dtype=np.float32)
    found = uard.evidence(regions, words, threshold=0.5)
    first, second = found["words"]
    assert (first["best_region"], first["answered"]) == (2, True)
    assert first["relevance"] == pytest.approx(1 / np.sqrt(1.01), abs=1e-6)
    assert not second["answered"] and second["regions"] == []


def test_packed_regions_are_kept_in_a_file(batch, tmp_path):
    regions, words, region_counts, word_counts = batch
    packed = uard.PackedRegions.pack((regions, region_counts))
    packed.save(tmp_path / "regions.packed")
    mapped = uard.PackedRegions.open(tmp_path / "regions.packed")
    mapped.verify()
    assert (len(mapped), mapped.width, mapped.precision) == (7, 16, "exact")
    assert mapped.counts == region_counts
    words = uard.PackedWords.pack((words, word_counts))
    search = uard.Search(0.1)
    expected = search.similarities((regions, region_counts), words)
    assert search.similarities(mapped, words).tobytes() == expected.tobytes()
    with pytest.raises(OSError, match="missing"):
        uard.PackedRegions.open(tmp_path / "missing")
    (tmp_path / "other").write_bytes(b"no packed file, but long enough to be looked at as one")
    with pytest.raises(ValueError, match="other"):
        uard.PackedRegions.open(tmp_path / "other")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": None}, "needs a threshold"),
        ({"rule": "soft"}, "unknown weight rule `soft`"),
        ({"threshold": float("nan")}, "threshold"),
        ({"precision": "int8"}, "unknown precision"),
        ({"engine": "tensor", "precision": "exact"}, "tensor computes in f32"),
        ({"region_counts": [5] * 6}, "one for each of 7 entries"),
        ({"word_counts": [5] * 9}, "expected 1 to 4"),
        ({"regions": np.zeros((7, 5, 16), dtype=np.int64)}, "int64"),
        ({"regions": np.zeros((7, 16))}, "expected \\[N, L, D\\]"),
        ({"regions": np.zeros((7, 5, 8))}, "width 8"),
        ({"regions": np.full((7, 5, 16), np.nan)}, "not finite"),
        ({"words": [np.ones((2, 16)), np.ones((2, 8))], "word_counts": None}, r"words\[1\]"),
        ({"words": (np.zeros((2, 16)),) * 9, "word_counts": None}, "arrays \\[L, D\\] are given as a list"),
        ({"region_counts": None, "regions": (np.zeros((7, 5, 16)), "x")}, "counts of regions"),
    ],
)
def test_wrong_arguments_are_named(batch, arguments, message):
    regions, words, region_counts, word_counts = batch
    given = {
        "regions": regions,
        "words": words,
        "region_counts": region_counts,
        "word_counts": word_counts,
        "threshold": 0.1,
    } | arguments
    with pytest.raises(ValueError, match=message):
        uard.similarities(**given)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r, w: uard.similarities([], w, threshold=0.1), "has no width"),
        (lambda r, w: uard.similarities(r, w, [1.5] * 7, threshold=0.1), "counts of regions: found"),
        (lambda r, w: uard.similarities(r, w, [-1] * 7, threshold=0.1), "is negative"),
        (lambda r, w: uard.similarities(r[:, :0], w, threshold=0.1), "no rows"),
        (lambda r, w: uard.similarities(np.ma.masked_array(r), w, threshold=0.1), "masks"),
        (lambda r, w: uard.similarities(uard.PackedWords.pack(w), w, threshold=0.1), "PackedRegions"),
        (
            lambda r, w: uard.similarities(uard.PackedRegions.pack(r), w, [1] * 7, threshold=0.1),
            "without counts",
        ),
        (lambda r, w: uard.rerank(r, w, [[7]] * 9, threshold=0.1), "image 7 is out of range"),
        (lambda r, w: uard.recall(np.ones((4, 3))), "cannot be shared equally"),
        (lambda r, w: uard.threshold([0.5, 0.6], []), "irrelevant"),
        (lambda r, w: uard.ThresholdLearner(hold_epochs=1), "hold_epochs"),
        (lambda r, w: uard.ThresholdLearner(penalty="x"), "settings"),
        (lambda r, w: uard.ThresholdLearner.resume({"threshold": 0.5}), "state"),
        (lambda r, w: uard.set_threads(0), "1 to 1024"),
    ],
)
def test_wrong_calls_say_what_is_wrong(batch, call, message):
    regions, words, _, _ = batch
    with pytest.raises(ValueError, match=message):
        call(regions, words)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_is_refused_instead_of_waiting_forever(batch):
    regions, words, _, _ = batch
    uard.similarities(regions, words, threshold=0.1)
    child = os.fork()
    if child == 0:
        try:
            uard.similarities(regions, words, threshold=0.1)
        except RuntimeError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_batch_without_captions_has_no_similarities(batch):
    regions, words, _, _ = batch
    found = uard.Search(0.1).batch(regions, words[:0])
    assert found.similarities.shape == (7, 0)
    of_regions, of_words = found.backward(np.zeros((7, 0), dtype=np.float32))
    assert of_words.shape == (0, 4, 16) and not of_regions.any()


def test_other_threads_go_on_while_similarities_are_computed():
    regions = np.random.default_rng(0).standard_normal((200, 36, 128), dtype=np.float32)
    words = np.random.default_rng(1).standard_normal((200, 12, 128), dtype=np.float32)
    count, done = 0, threading.Event()

    def work():
        uard.similarities(regions, words, threshold=0.1, engine="scalar", precision="f32")
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.wait(0.001):
        count += 1
    thread.join()
    assert count > 3


def test_an_interrupt_stops_a_long_computation():
    draw = np.random.default_rng(0)
    regions = draw.standard_normal((1000, 64, 64), dtype=np.float32)
    words = draw.standard_normal((5000, 16, 64), dtype=np.float32)
    search = uard.Search(rule="scan", engine="scalar", precision="f32")
    # A shell that starts a job in the background makes it ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            search.top_k(regions, words, 10)
    finally:
        signal.signal(signal.SIGINT, before)


def test_recall_counts_ranks():
    similarities = np.array([[0.9, 0.7, 0.1, 0.2], [0.3, 0.8, 0.6, 0.5]])
    for image_of_caption in [[0, 0, 1, 1], None]:
        found = uard.recall(similarities, image_of_caption)
        assert found["image_to_text"]["r1"] == 50.0
        assert found["text_to_image"]["r1"] == 75.0
    with pytest.raises(ValueError, match="image 7"):
        uard.recall(similarities, [0, 0, 1, 7])


def test_the_threshold_lies_where_densities_cross():
    draw = np.random.default_rng(0)
    relevant, irrelevant = draw.normal(0.6, 0.08, 100_000), draw.normal(0.2, 0.08, 100_000)
    assert uard.threshold(relevant, irrelevant) == pytest.approx(0.4, abs=0.002)
    assert uard.threshold(relevant, irrelevant, penalty=2.0) > 0.41
    empirical = uard.threshold(relevant, irrelevant, distributions="empirical")
    assert empirical == pytest.approx(0.4, abs=0.02)
    with pytest.raises(ValueError, match="mean"):
        uard.threshold(irrelevant, relevant)


def test_the_example_runs():
    example = pathlib.Path(__file__).parent.parent / "examples/any_features.py"
    result = subprocess.run([sys.executable, example], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    first, *words = result.stdout.splitlines()
    assert first.startswith("threshold 0.") and first.endswith("rsum 600.0")
    assert [line.split(",")[0] for line in words] == [f"word {at}: region {at}" for at in range(5)]


def test_a_learner_continues_from_its_state():
    draw = np.random.default_rng(0)
    learner = uard.ThresholdLearner(minimum_samples=50, smoothing=0.5)
    assert "moved" in learner.update(draw.normal(0.6, 0.1, 100), draw.normal(0.2, 0.1, 100))
    assert learner.threshold == pytest.approx(0.2, abs=0.05)
    resumed = uard.ThresholdLearner.resume(learner.state, minimum_samples=50, smoothing=0.5)
    samples = draw.normal(0.6, 0.1, 100), draw.normal(0.2, 0.1, 100)
    learner.update(*samples)
    resumed.update(*samples)
    assert learner.state == resumed.state == copy.deepcopy(learner).state
    assert pickle.loads(pickle.dumps(learner)).threshold == learner.threshold
    assert "kept" in learner.update([0.5], [0.1])
    with pytest.raises(ValueError, match="smothing"):
        uard.ThresholdLearner(smothing=0.5)
