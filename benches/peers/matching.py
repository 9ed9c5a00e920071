"""Times PyTorch on a GPU on the work of our matching kernel, and on its products alone.

A peer of `uard-bench --suite gpu`, which starts it as

    python matching.py FORM DIRECTORY [--device cuda|cpu] [--threshold T] [--tiny]

and communicates by the lines that scan.py describes; every answer is one line of JSON, `peak` is
the value of torch.cuda.max_memory_allocated. DIRECTORY holds regions.npy [I, R, D], words.npy
[C, W, D] (unit rows, padded with zeros) and counts.npy [C]. FORM is one of

    product          the relevance of all pairs alone: packed words times regions, in bf16
    square           8192 x 8192 x 8192 in bf16
    maxsim           einsum and maximum, both sides, bf16
    maxsim-compiled  maxsim under torch.compile
    uarda-bf16, uarda-f32, scan-bf16, scan-f32
                     as published, many captions at a time: every attended vector is formed

Products of f32 do not use tf32. Lengths and sums are computed in f32 in every form. Captions are sorted
by length, so that hardly any padding is computed. A form that would take more than LONGEST seconds
on all captions runs on the first of them; the first answer gives their number. `--tiny` uses small
tiles, so that small data have several. Work that takes longer than PATIENCE seconds, for example a
compiler that hangs, ends the process, which uard-bench reports as an error.
"""

import argparse
import json
import signal
import sys
import time
from pathlib import Path

import numpy
import torch

UARDA = (10.0, 10.0)
SCAN = (9.0, 4.0)
SLOPE = 0.1
EPSILON = 1e-8
LONGEST = 4.0
PATIENCE = 75


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def masked_weights(relevance, threshold, valid, factor):
    """exp(factor (r - highest)) where r is above the threshold, else 0; contexts are last."""
    best = relevance.masked_fill(~valid, -4.0).amax(-1, keepdim=True).detach()
    weights = torch.exp((relevance - best) * factor)
    return weights * ((relevance > threshold) & valid)


def scan_weights(relevance, valid_context, valid_query, factor):
    """SCAN's weights: leaky ReLU, normalised over the queries, softmax over the context."""
    leaky = torch.nn.functional.leaky_relu(relevance, SLOPE) * valid_query
    lengths = leaky.square().sum(-2, keepdim=True).sqrt() + EPSILON
    logits = (leaky / lengths * factor).masked_fill(~valid_context, float("-inf"))
    return torch.softmax(logits, dim=-1)


def cosine(queries, attended):
    """Cosines of unit queries with their attended vectors; 0 where nothing is attended to."""
    dots = (queries * attended).sum(-1, dtype=torch.float32)
    squares = (attended * attended).sum(-1, dtype=torch.float32)
    return dots / squares.clamp(min=EPSILON**2).sqrt()


def attend(regions, words, counts, rule, threshold):
    """Similarity [I, C] of images with captions of about the same length."""
    images, most, width = regions.shape
    captions, longest, _ = words.shape
    valid = torch.arange(longest, device=words.device) < counts.unsqueeze(1)
    products = regions.reshape(-1, width) @ words.reshape(-1, width).T
    products = products.float().reshape(images, most, captions, longest)
    by_words = products.permute(0, 2, 3, 1)
    by_regions = products.permute(2, 0, 1, 3)
    word_is, word_as_context = valid[None, :, :, None], valid[:, None, None, :]
    everything = torch.ones(1, dtype=torch.bool, device=words.device)
    if rule == "uarda":
        to_regions = masked_weights(by_words, threshold, everything, UARDA[0])
        to_words = masked_weights(by_regions, threshold, word_as_context, UARDA[1])
    else:
        to_regions = scan_weights(by_words, everything, word_is, SCAN[0])
        to_words = scan_weights(by_regions, word_as_context, everything, SCAN[1])
    to_regions = to_regions.to(regions.dtype).reshape(images, captions * longest, most)
    attended = (to_regions @ regions).reshape(images, captions, longest, width)
    answers = cosine(words, attended) * valid
    found = answers.sum(-1) / counts
    del attended
    to_words = to_words.to(words.dtype).reshape(captions, images * most, longest)
    attended = (to_words @ words).reshape(captions, images, most, width)
    return found + cosine(regions, attended).mean(-1).T


def best_of_both(regions, words, valid):
    """MaxSim [I, C] of both sides."""
    relevance = torch.einsum("ird,cwd->icrw", regions, words)
    relevance = relevance.masked_fill(~valid[None, :, None, :], -4.0)
    regions_ask = relevance.amax(3).mean(2, dtype=torch.float32)
    words_ask = relevance.amax(2) * valid
    return regions_ask + words_ask.sum(2, dtype=torch.float32) / valid.sum(1)


class Matching:
    """The fragments, on the device and in the number type of a form."""

    def __init__(self, directory, dtype, device, tiny):
        self.regions = torch.from_numpy(numpy.load(directory / "regions.npy")).to(device, dtype)
        self.words = torch.from_numpy(numpy.load(directory / "words.npy")).to(device, dtype)
        self.counts = torch.from_numpy(numpy.load(directory / "counts.npy")).to(device)
        self.device = device
        images, regions, width = self.regions.shape
        # Attended vectors of 1 GB at once, or relevance of as much.
        room = 2**18 if tiny else 2**29
        self.captions_at_once = max(1, room // (images * regions * width))
        self.images_at_once = max(1, room // (regions * self.words[..., 0].numel()))

    def take(self, captions):
        self.words, self.counts = self.words[:captions], self.counts[:captions]

    def product(self):
        valid = torch.arange(self.words.shape[1], device=self.device) < self.counts.unsqueeze(1)
        words = self.words[valid].T.contiguous()
        regions = self.regions.reshape(-1, self.regions.shape[2])
        out = torch.empty(regions.shape[0], words.shape[1], dtype=words.dtype, device=self.device)
        return lambda: torch.mm(regions, words, out=out)

    def attended(self, rule, threshold):
        order = torch.argsort(self.counts)
        lengths = self.counts[order].tolist()
        shape = (self.regions.shape[0], len(order))
        out = torch.empty(shape, dtype=torch.float32, device=self.device)
        for at in range(0, len(order), self.captions_at_once):
            some = order[at : at + self.captions_at_once]
            longest = lengths[at + len(some) - 1]
            tile = (self.regions, self.words[some, :longest], self.counts[some])
            out[:, some] = attend(*tile, rule, threshold)
        return out

    def maxsim(self, step):
        valid = torch.arange(self.words.shape[1], device=self.device) < self.counts.unsqueeze(1)
        tiles = self.regions.split(self.images_at_once)
        return torch.cat([step(tile, self.words, valid) for tile in tiles])


def square(device, tiny):
    size = 64 if tiny else 8192
    left, right = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out)


def shortened(matching, work, probe):
    """Reduces the number of captions if all of them would take too long; measured on some of them."""
    captions = len(matching.counts)
    if captions <= 2 * probe:
        return
    words, counts = matching.words, matching.counts
    matching.take(probe)
    for _ in range(2):
        begun = time.perf_counter()
        work()
        synchronize(matching.device)
        seconds = time.perf_counter() - begun
    share = LONGEST / (seconds * captions / probe)
    matching.words, matching.counts = words, counts
    if share < 1:
        matching.take(max(probe, int(share * captions)))


def job(options):
    """The function that runs a form once, and the number of captions that it matches."""
    device = torch.device(options.device)
    if options.form == "square":
        return square(device, options.tiny), 0
    dtype = torch.float32 if options.form.endswith("f32") else torch.bfloat16
    matching = Matching(options.directory, dtype, device, options.tiny)
    if options.form == "product":
        return matching.product(), len(matching.counts)
    if options.form.startswith("maxsim"):
        compiled = options.form == "maxsim-compiled"
        step = torch.compile(best_of_both) if compiled else best_of_both
        return lambda: matching.maxsim(step), len(matching.counts)
    rule = options.form.split("-")[0]
    work = lambda: matching.attended(rule, options.threshold)
    shortened(matching, work, 250)
    return work, len(matching.counts)


def say(**answer):
    """Writes an answer and stops the timeout until the next request."""
    signal.alarm(0)
    print(json.dumps(answer), flush=True)


def be_patient():
    """Starts the timeout until the next answer: its signal, without a handler, ends the process."""
    signal.alarm(PATIENCE)


def serve(work, device):
    """Answers requests until standard input ends."""
    found = None
    for line in sys.stdin:
        be_patient()
        request, _, argument = line.strip().partition(" ")
        try:
            if request == "round":
                synchronize(device)
                begun = time.perf_counter()
                times = 0
                while times == 0 or time.perf_counter() - begun < 0.2:
                    found = work()
                    synchronize(device)
                    times += 1
                say(seconds=(time.perf_counter() - begun) / times)
            elif request == "save":
                numpy.save(argument, found.float().cpu().numpy())
                say(saved=True)
            elif request == "peak":
                peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
                say(kib=peak // 1024)
            else:
                say(error=f"unknown request: {request}")
        except Exception as error:  # The error is sent to uard-bench, which handles it.
            say(error=f"{type(error).__name__}: {str(error).splitlines()[:1]}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("form")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--threshold", type=float, default=0.0)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    be_patient()
    try:
        with torch.inference_mode():
            work, captions = job(options)
            name = f"torch {torch.__version__}"
            say(name=name, captions=captions)
            serve(work, torch.device(options.device))
    except Exception as error:
        say(error=f"{type(error).__name__}: {str(error).splitlines()[:1]}")


if __name__ == "__main__":
    main()
