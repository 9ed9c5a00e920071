"""Regions and words of any model: learned threshold, recall, evidence, and a plot of both distributions.

    python any_features.py regions.npy words.npy distributions.png

regions.npy [I, R, D] and words.npy [I, W, D] hold an image and one caption of it in each entry. Without
arguments made-up ones are taken. The plot needs Matplotlib.
"""

import sys

import numpy as np
import uard


def made_up():
    draw = np.random.default_rng(0)
    things = draw.standard_normal((200, 5, 64), dtype=np.float32)
    return [things + 0.6 * draw.standard_normal(things.shape, dtype=np.float32) for _ in range(2)]


def main(regions=None, words=None, plot=None):
    regions, words = (np.load(regions), np.load(words)) if regions else made_up()
    # The highest relevance of each word in its own image and in the next one.
    relevance = uard.Search(rule="maxsim", sides="words", precision="f32").similarities
    each = words.reshape(-1, 1, words.shape[-1])
    own = np.repeat(np.arange(len(regions)), words.shape[1])
    highest = relevance(regions, each)
    relevant = highest[own, np.arange(len(each))]
    irrelevant = highest[(own + 1) % len(regions), np.arange(len(each))]
    threshold = uard.threshold(relevant, irrelevant)

    similarities = uard.similarities(regions, words, threshold=threshold, rule="nearest")
    print(f"threshold {threshold:.3f}, rsum {uard.recall(similarities)['rsum']:.1f}")
    for word in uard.evidence(regions, words, threshold=threshold)["words"]:
        found = f"region {word['best_region']}" if word["answered"] else "not found"
        print(f"word {word['word']}: {found}, relevance {word['relevance']:.2f}")
    if plot:
        from matplotlib import pyplot

        pyplot.hist([relevant, irrelevant], bins=50, label=["own image", "another image"])
        pyplot.axvline(threshold, color="black", label=f"threshold {threshold:.2f}")
        pyplot.xlabel("highest relevance of a word")
        pyplot.legend()
        pyplot.savefig(plot)


if __name__ == "__main__":
    main(*sys.argv[1:])
