"""Times PyTorch on SCAN's cross-attention, and on plain matrix products.

A peer of `uard-bench`, which starts it as

    python scan.py FORM DIRECTORY THREADS

and communicates by lines: it reads a request from standard input and answers with one line of JSON.

    round        works through the whole job once     {"seconds": 1.5}
    save PATH    writes the last similarities [I, C]   {"saved": true}
    peak         peak resident memory of this process  {"kib": 1234}

DIRECTORY holds regions.npy [I, R, D], words.npy [C, W, D] (unit rows, padded with zeros) and
counts.npy [C] (words of each caption). FORM is one of

    loop         the published evaluation: for each caption, attend over all images, then the
                 other way round; every attended vector is formed
    batched      the same numbers, many captions at a time
    gemm-f32     one product [2048, 1024] x [1024, 2048]
    gemm-bf16    the same with both sides in bfloat16

Source of the formulas: Lee et al., Stacked Cross Attention for Image-Text Matching, ECCV 2018,
with the settings of its best single models: relevance through a leaky ReLU, divided by its length
over the queries, weights by softmax over the context; the mean of cosines over the queries;
inverse temperature 9 when words ask and 4 when regions ask. Both directions are added.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy
import torch

WORDS_ASK = 9.0
REGIONS_ASK = 4.0
SLOPE = 0.1
EPSILON = 1e-8

# Images and captions that the batched form takes at a time: [32, 32, 36, 1024] attended vectors
# are 150 MB.
TILE_IMAGES = 32
TILE_CAPTIONS = 32


def answers(queries, context, inverse_temperature, query_valid=None, context_valid=None):
    """Cosine of each query with its attended vector.

    queries [..., Q, D], context [..., X, D]; the validities [..., Q] and [..., X] say which rows
    are not padding. Returns [..., Q].
    """
    relevance = context @ queries.transpose(-1, -2)
    relevance = torch.nn.functional.leaky_relu(relevance, SLOPE)
    if query_valid is not None:
        relevance = relevance * query_valid.unsqueeze(-2)
    length = relevance.square().sum(-1, keepdim=True).sqrt() + EPSILON
    logits = (relevance / length).transpose(-1, -2) * inverse_temperature
    if context_valid is not None:
        logits = logits.masked_fill(~context_valid.unsqueeze(-2), float("-inf"))
    attended = torch.softmax(logits, dim=-1) @ context
    dots = (queries * attended).sum(-1)
    lengths = queries.norm(dim=-1) * attended.norm(dim=-1)
    return dots / lengths.clamp(min=EPSILON)


def loop(regions, words, counts):
    """Caption by caption against all images, first one direction, then the other."""
    images = regions.shape[0]
    by_words, by_regions = [], []
    for rows, count in zip(words, counts):
        caption = rows[:count].unsqueeze(0).repeat(images, 1, 1)
        by_words.append(answers(caption, regions, WORDS_ASK).mean(dim=1))
    for rows, count in zip(words, counts):
        caption = rows[:count].unsqueeze(0).repeat(images, 1, 1)
        by_regions.append(answers(regions, caption, REGIONS_ASK).mean(dim=1))
    return torch.stack(by_words, dim=1) + torch.stack(by_regions, dim=1)


def batched(regions, words, counts):
    """Tiles of images and captions at once; padding words are masked."""
    similarities = torch.empty(regions.shape[0], words.shape[0])
    counts = torch.as_tensor(counts)
    valid = torch.arange(words.shape[1]) < counts.unsqueeze(1)
    for c in range(0, words.shape[0], TILE_CAPTIONS):
        captions = slice(c, c + TILE_CAPTIONS)
        longest = int(counts[captions].max())
        some_words = words[captions, :longest].unsqueeze(0)
        some_valid = valid[captions, :longest].unsqueeze(0)
        for i in range(0, regions.shape[0], TILE_IMAGES):
            images = slice(i, i + TILE_IMAGES)
            some_regions = regions[images].unsqueeze(1)
            by_words = answers(some_words, some_regions, WORDS_ASK, query_valid=some_valid)
            by_words = (by_words * some_valid).sum(-1) / counts[captions]
            by_regions = answers(some_regions, some_words, REGIONS_ASK, context_valid=some_valid)
            similarities[images, captions] = by_words + by_regions.mean(dim=-1)
    return similarities


def gemm(dtype):
    """A matrix product with the inner width of the joint space, into an allocated output."""
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(2048, 1024, generator=generator).to(dtype)
    right = torch.randn(1024, 2048, generator=generator).to(dtype)
    out = torch.empty(2048, 2048, dtype=dtype)
    return lambda: torch.mm(left, right, out=out)


def job(form, directory):
    if form in ("gemm-f32", "gemm-bf16"):
        return gemm(torch.float32 if form == "gemm-f32" else torch.bfloat16)
    regions = torch.from_numpy(numpy.load(directory / "regions.npy"))
    words = torch.from_numpy(numpy.load(directory / "words.npy"))
    counts = [int(count) for count in numpy.load(directory / "counts.npy")]
    work = {"loop": loop, "batched": batched}[form]
    return lambda: work(regions, words, counts)


def say(**answer):
    print(json.dumps(answer), flush=True)


@torch.inference_mode()
def main():
    form, directory, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    work = job(form, directory)
    found = None
    say(name=f"torch {torch.__version__}", threads=torch.get_num_threads())
    for line in sys.stdin:
        request, _, argument = line.strip().partition(" ")
        if request == "round":
            begun = time.perf_counter()
            found = work()
            say(seconds=time.perf_counter() - begun)
        elif request == "save":
            numpy.save(argument, found.numpy())
            say(saved=True)
        elif request == "peak":
            say(kib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        else:
            say(error=f"unknown request: {request}")


if __name__ == "__main__":
    main()
