"""UARDA's attention and its learned threshold in a model of PyTorch, on the CPU.

    attention = uard.torch.CrossAttention()
    similarities = attention(regions, words, region_counts, word_counts, image_of_caption)

`similarities` [I, C] has gradients of both arguments. In training mode, where gradients are enabled, each call
learns the threshold from its batch; `state_dict` holds it.
"""

import torch

from . import Search, ThresholdLearner

__all__ = ["CrossAttention", "masked_similarity"]


class _Similarity(torch.autograd.Function):
    @staticmethod
    def forward(context, regions, words, batch):
        context.batch = batch
        return torch.from_numpy(batch.similarities)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context, gradient):
        regions, words = context.batch.backward(gradient.resolve_conj().resolve_neg().numpy())
        return torch.from_numpy(regions), torch.from_numpy(words), None


def _search(threshold, rule, sides, inverse_temperature):
    settings = {"rule": rule, "sides": sides, "inverse_temperature": inverse_temperature}
    return Search(threshold, precision="f32", **settings)


def _matched(search, regions, words, region_counts, word_counts):
    """Similarities with gradients, and the batch that a learner reads."""
    for name, rows in [("regions", regions), ("words", words)]:
        if not isinstance(rows, torch.Tensor):
            raise TypeError(f"{name}: found {type(rows).__name__}, expected a tensor of PyTorch")
        if rows.device.type != "cpu":
            raise ValueError(
                f"{name} are on {rows.device}: uard.torch computes on the CPU; move them with .cpu()"
            )
        if rows.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name} are {rows.dtype}: expected torch.float32 or torch.float64")
    batch = search.batch(
        _counted(regions.detach().numpy(), region_counts),
        _counted(words.detach().numpy(), word_counts),
    )
    return _Similarity.apply(regions, words, batch), batch


def _counted(rows, counts):
    return rows if counts is None else (rows, counts)


def masked_similarity(
    regions,
    words,
    region_counts=None,
    word_counts=None,
    threshold=0.0,
    *,
    rule="masked",
    sides="both",
    inverse_temperature=None,
):
    """The similarity of every image with every caption, with gradients: [I, C].

    regions: [I, R, D], words: [C, W, D], float32 or float64, on the CPU; rows are made unit vectors.
    rule, sides, inverse_temperature: as of `uard.Search`.
    """
    search = _search(threshold, rule, sides, inverse_temperature)
    return _matched(search, regions, words, region_counts, word_counts)[0]


class CrossAttention(torch.nn.Module):
    """The similarity of every image of a batch with every caption, by a threshold that it learns.

    rule, sides, inverse_temperature: as of `uard.Search`.
    learner: settings of `uard.ThresholdLearner`, such as `minimum_samples`.
    """

    def __init__(self, rule="masked", sides="both", inverse_temperature=None, **learner):
        super().__init__()
        self._settings = (rule, sides, inverse_temperature)
        self._learner_settings = learner
        self._learner = ThresholdLearner(**learner)
        _search(self.threshold, *self._settings)  # Refuses wrong settings.

    @property
    def threshold(self):
        """The learned threshold, a cosine."""
        return self._learner.threshold

    def forward(self, regions, words, region_counts=None, word_counts=None, image_of_caption=None):
        """Similarities [I, C] of regions [I, R, D] and words [C, W, D].

        image_of_caption: for each caption the index of its image in the batch. In training mode the
        threshold is learned from it; None: caption i belongs to image i.
        """
        search = _search(self.threshold, *self._settings)
        similarities, batch = _matched(search, regions, words, region_counts, word_counts)
        if self.training and torch.is_grad_enabled():
            if image_of_caption is None:
                if len(words) != len(regions):
                    raise ValueError(
                        f"{len(regions)} images and {len(words)} captions: give image_of_caption"
                    )
                image_of_caption = range(len(words))
            self._learner.observe(batch, image_of_caption)
        return similarities

    def get_extra_state(self):
        return self._learner.state

    def set_extra_state(self, state):
        self._learner = ThresholdLearner.resume(state, **self._learner_settings)
