"""Gradients and the learned threshold in a model of PyTorch."""

import copy
import io

import pytest

torch = pytest.importorskip("torch")

import uard.torch  # noqa: E402


def composed(regions, words, threshold, temperature=10.0):
    """The masked rule in PyTorch's operations, [I, C]; all rows are valid."""
    regions = torch.nn.functional.normalize(regions, dim=-1)
    words = torch.nn.functional.normalize(words, dim=-1)
    relevance = torch.einsum("ird,cwd->icrw", regions, words)

    def answers(cells, keys, form):
        """Cells [I, C, queries, keys]."""
        highest = cells.amax(-1, keepdim=True).detach()
        weights = torch.where(cells > threshold, torch.exp(temperature * (cells - highest)), 0.0)
        vectors = torch.einsum(form, weights, keys)
        found = (weights * cells).sum(-1) / vectors.norm(dim=-1).clamp_min(1e-6)
        return torch.where((cells > threshold).any(-1), found, 0.0).mean(-1)

    of_words = answers(relevance.transpose(2, 3), regions, "icwr,ird->icwd")
    return of_words + answers(relevance, words, "icrw,cwd->icrd")


def batch(dtype):
    generator = torch.Generator().manual_seed(0)
    regions = torch.randn(3, 4, 8, generator=generator, dtype=dtype)
    words = torch.randn(3, 3, 8, generator=generator, dtype=dtype)
    return regions.requires_grad_(), words.requires_grad_()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-10)])
def test_values_and_gradients_are_those_of_the_composition(dtype, tolerance):
    inputs = batch(dtype)
    weights = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=dtype)
    found = uard.torch.masked_similarity(*inputs, threshold=0.1)
    expected = composed(*inputs, 0.1)
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
    gradients = torch.autograd.grad((found * weights).sum(), inputs)
    expected = torch.autograd.grad((expected * weights).sum(), inputs)
    for found, expected in zip(gradients, expected):
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("rule", ["masked", "nearest", "zero", "scan", "maxsim"])
def test_gradients_are_those_of_differences(rule):
    def similarity(regions, words):
        return uard.torch.masked_similarity(regions, words, threshold=0.1, rule=rule)

    assert torch.autograd.gradcheck(similarity, batch(torch.float64), eps=1e-7, atol=1e-5)


def test_a_model_learns_its_threshold_and_keeps_it():
    torch.manual_seed(0)
    attention = uard.torch.CrossAttention(rule="nearest", minimum_samples=8)
    image, text = torch.nn.Linear(16, 12), torch.nn.Linear(16, 12)
    optimizer = torch.optim.Adam([*image.parameters(), *text.parameters()], lr=1e-2)
    things = torch.randn(8, 3, 16)

    def loss():
        similarities = attention(image(things), text(things))
        return torch.nn.functional.cross_entropy(10 * similarities, torch.arange(8))

    first = loss().item()
    for _ in range(30):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < first / 4
    assert 0.1 < attention.threshold < 1.0
    file = io.BytesIO()
    torch.save(attention.state_dict(), file)
    file.seek(0)
    resumed = uard.torch.CrossAttention(rule="nearest", minimum_samples=8)
    resumed.load_state_dict(torch.load(file))
    assert resumed.threshold == attention.threshold
    assert copy.deepcopy(attention).threshold == attention.threshold
    with torch.no_grad():
        resumed(image(things), text(things))
    assert resumed.threshold == attention.threshold
    resumed.eval()
    resumed(image(things), text(things))
    assert resumed.threshold == attention.threshold


def test_other_devices_and_types_are_refused():
    regions, words = batch(torch.float32)
    with pytest.raises(ValueError, match="float16"):
        uard.torch.masked_similarity(regions.half(), words)
    with pytest.raises(ValueError, match="on the CPU"):
        uard.torch.masked_similarity(regions.to("meta"), words)
    with pytest.raises(TypeError, match="expected a tensor"):
        uard.torch.masked_similarity([[[1.0]]], words)
    with pytest.raises(ValueError, match="soft"):
        uard.torch.CrossAttention(rule="soft")
    with pytest.raises(ValueError, match="give image_of_caption"):
        uard.torch.CrossAttention()(regions[:2], words)
    with pytest.raises(ValueError, match="f64"):
        uard.torch.masked_similarity(regions.double(), words)
