"""Times a training step in PyTorch, with every attended vector formed.

A peer of `uard-bench --suite gpu`, which starts it as

    python training.py FORM DIRECTORY [--device cuda|cpu] [--tiny] --features N --vocabulary N
        --regions N --width N --word-width N

and communicates by the lines that scan.py describes. FORM is f32 or tf32. DIRECTORY holds counts.npy
[C], the words of each caption; there are as many images. A round is a step: an embedding and a
bidirectional GRU (cuDNN's), whose directions are averaged; a linear layer for the regions; unit
rows; UARDA with the threshold 0 and both sides; the hinge on the hardest negatives;
backward; the clipped norm; Adam. Features are drawn.
"""

import argparse
from pathlib import Path

import numpy
import torch
from torch import nn

from matching import attend, be_patient, say, serve

MARGIN = 0.2


class Model(nn.Module):
    """The encoders: a GRU for captions, a linear layer for regions."""

    def __init__(self, options):
        super().__init__()
        self.embedding = nn.Embedding(options.vocabulary, options.word_width)
        self.gru = nn.GRU(options.word_width, options.width, bidirectional=True, batch_first=True)
        self.image = nn.Linear(options.features, options.width)

    def words(self, ids, counts):
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(ids), counts.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        forward, backward = states.chunk(2, dim=-1)
        return nn.functional.normalize((forward + backward) / 2, dim=-1)

    def regions(self, features):
        return nn.functional.normalize(self.image(features), dim=-1)


def hinge(similarities):
    """The hinge loss over the hardest negatives of both directions, summed."""
    own = similarities.diag()
    costs = similarities.new_tensor(MARGIN) + similarities
    diagonal = torch.eye(len(own), dtype=torch.bool, device=own.device)
    captions = (costs - own.unsqueeze(1)).clamp(min=0).masked_fill(diagonal, 0)
    images = (costs - own.unsqueeze(0)).clamp(min=0).masked_fill(diagonal, 0)
    return captions.amax(1).sum() + images.amax(0).sum()


class Step:
    """A model, its optimizer, and one batch."""

    def __init__(self, options, device):
        torch.manual_seed(0)
        self.counts = torch.from_numpy(numpy.load(options.directory / "counts.npy")).to(device)
        shape = (len(self.counts), int(self.counts.max()))
        self.ids = torch.randint(1, options.vocabulary, shape, device=device)
        shape = (len(self.counts), options.regions, options.features)
        # As in our trainer, the features are copied from the host in every step.
        self.features = torch.randn(shape)
        self.device = device
        self.model = Model(options).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=5e-4)

    def take(self):
        words = self.model.words(self.ids, self.counts)
        regions = self.model.regions(self.features.to(self.device))
        similarities = attend(regions, words, self.counts, "uarda", 0.0)
        loss = hinge(similarities)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.optimizer.step()
        return loss.detach().reshape(1, 1)


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("form", choices=["f32", "tf32"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    for name in ["features", "vocabulary", "regions", "width", "word-width"]:
        parser.add_argument(f"--{name}", type=int, required=True)
    found = parser.parse_args()
    if found.tiny:
        found.features, found.width, found.word_width = 16, 16, 8
    return found


def main():
    asked = options()
    tf32 = asked.form == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    device = torch.device(asked.device)
    be_patient()
    try:
        step = Step(asked, device)
        say(name=f"torch {torch.__version__}", captions=len(step.counts))
        serve(step.take, device)
    except Exception as error:
        say(error=f"{type(error).__name__}: {str(error).splitlines()[:1]}")


if __name__ == "__main__":
    main()
