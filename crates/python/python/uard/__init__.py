"""Image-text matching with a learned threshold, on NumPy arrays.

Regions of images are arrays [I, R, D] with the number of valid regions of each image, or lists of arrays
[R, D]; words of captions likewise. All rows are made unit vectors. See `help(uard.Search)` for the rules of
attention.
"""

from ._uard import (
    Batch,
    Encoder,
    Index,
    Indexer,
    Model,
    PackedRegions,
    PackedWords,
    PhotoList,
    Search,
    Split,
    ThresholdLearner,
    TopK,
    __version__,
    adopt_indexes,
    join_stores,
    recall,
    set_threads,
    threshold,
)

__all__ = [
    "Batch",
    "Encoder",
    "Index",
    "Indexer",
    "Model",
    "PackedRegions",
    "PackedWords",
    "PhotoList",
    "Search",
    "Split",
    "ThresholdLearner",
    "TopK",
    "adopt_indexes",
    "evidence",
    "join_stores",
    "recall",
    "rerank",
    "set_threads",
    "similarities",
    "threshold",
    "top_k",
]


def _vectors(array, counts):
    return array if counts is None else (array, counts)


def similarities(regions, words, region_counts=None, word_counts=None, threshold=None, **settings):
    """The similarity of every image with every caption, float32 [I, C].

    regions: an array [I, R, D], of which `region_counts` says how many regions of each image are valid, a
        list of arrays [R, D], or PackedRegions. words: the same with captions and words, or PackedWords.
    threshold, settings: those of `Search`.
    """
    search = Search(threshold, **settings)
    return search.similarities(_vectors(regions, region_counts), _vectors(words, word_counts))


def top_k(regions, words, k, region_counts=None, word_counts=None, threshold=None, **settings):
    """The k best captions of each image and the k best images of each caption, as `TopK`.

    Other arguments are those of `similarities`.
    """
    search = Search(threshold, **settings)
    return search.top_k(_vectors(regions, region_counts), _vectors(words, word_counts), k)


def rerank(
    regions, words, candidates, region_counts=None, word_counts=None, threshold=None, **settings
):
    """The similarity of each caption with its candidates, the indices of images [C, K]: float32 [C, K].

    Other arguments are those of `similarities`.
    """
    search = Search(threshold, **settings)
    regions, words = _vectors(regions, region_counts), _vectors(words, word_counts)
    return search.rerank(regions, words, candidates)


def evidence(
    regions,
    words,
    image=0,
    caption=0,
    region_counts=None,
    word_counts=None,
    threshold=None,
    **settings,
):
    """What each word of a caption finds in an image: see `Search.evidence`.

    Other arguments are those of `similarities`.
    """
    search = Search(threshold, **settings)
    regions, words = _vectors(regions, region_counts), _vectors(words, word_counts)
    return search.evidence(regions, words, image, caption)
