"""Writes the golden feature maps of crates/features/src/backbone/tests/networks.rs.

    python -m pip install torch==2.15.0 torchvision==0.29.2 timm==1.0.31 safetensors==0.8.0
    python backbones.py            writes beside itself

The networks are those of torchvision and timm with every number of channels divided by sixteen, so
that their weights fit into a few kilobytes: their own code builds and runs them, and only the
constructors of layers get other numbers of channels. Weights are drawn, rounded to f16 and stored; batch
norms get statistics that are not trivial. Each file holds the weights, the input `pixels`
[N, 3, H, W] in f16 and the maps that came out, in f32:

    resnet_bottleneck.safetensors  torchvision ResNet, Bottleneck, blocks 1, 2, 1, 1: c2 to c5
    resnet_basic.safetensors       timm ResNet, BasicBlock, blocks 1, 1, 1, 1: c2 to c5
    inception_v3.safetensors       timm InceptionV3: mixed_7a, with padding left out of average
                                   pools, while timm counts it
"""

from functools import partial
from importlib import import_module
from pathlib import Path

import torch
import torchvision.models.resnet as torchvision_resnet
from safetensors.torch import save_file
from torch import nn

# timm exports functions of the same names.
timm_inception = import_module("timm.models.inception_v3")
timm_resnet = import_module("timm.models.resnet")

DIVISOR = 16
HERE = Path(__file__).parent


def narrow(channels):
    return channels if channels == 3 else max(channels // DIVISOR, 1)


class Conv2d(nn.Conv2d):
    def __init__(self, inputs, outputs, *args, **kwargs):
        super().__init__(narrow(inputs), narrow(outputs), *args, **kwargs)


class BatchNorm2d(nn.BatchNorm2d):
    def __init__(self, channels, *args, **kwargs):
        super().__init__(narrow(channels), *args, **kwargs)


class Linear(nn.Linear):
    def __init__(self, inputs, outputs, *args, **kwargs):
        super().__init__(1, 1)


def draw(model, seed):
    """Seeded numbers that f16 holds, so that what is stored is what ran."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor, low, high):
        values = torch.rand(tensor.shape, generator=generator) * (high - low) + low
        tensor.copy_(values.half().float())

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                bound = (6 / module.weight[0].numel()) ** 0.5
                uniform(module.weight, -bound, bound)
            if isinstance(module, nn.BatchNorm2d):
                uniform(module.weight, 0.5, 1.2)
                uniform(module.bias, -0.3, 0.3)
                uniform(module.running_mean, -0.3, 0.3)
                uniform(module.running_var, 0.5, 1.5)
    return model.eval()


def pixels(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) * 4 - 2).half().float()


def save(name, model, keep, tensors):
    weights = {
        key: value.half()
        for key, value in model.state_dict().items()
        if keep(key) and value.is_floating_point()
    }
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    tensors["pixels"] = tensors["pixels"].half()
    save_file(weights | tensors, HERE / f"{name}.safetensors")


def stages(model, x):
    x = model.maxpool(model.act1(model.bn1(model.conv1(x))) if hasattr(model, "act1")
                      else model.relu(model.bn1(model.conv1(x))))
    maps = {}
    for at in range(1, 5):
        x = getattr(model, f"layer{at}")(x)
        maps[f"c{at + 1}"] = x
    return maps


def resnets():
    x = pixels(1, 2, 3, 45, 34)
    kept = torchvision_resnet.nn
    torchvision_resnet.nn = type("nn", (), dict(vars(nn), Conv2d=Conv2d, Linear=Linear))
    model = torchvision_resnet.ResNet(
        torchvision_resnet.Bottleneck, [1, 2, 1, 1], norm_layer=BatchNorm2d
    )
    torchvision_resnet.nn = kept
    draw(model, 2)
    save("resnet_bottleneck", model, lambda key: "fc" not in key, {"pixels": x} | stages(model, x))

    kept = timm_resnet.nn
    timm_resnet.nn = type("nn", (), dict(vars(nn), Conv2d=Conv2d))
    model = timm_resnet.ResNet(
        timm_resnet.BasicBlock, [1, 1, 1, 1], num_classes=0, norm_layer=BatchNorm2d
    )
    timm_resnet.nn = kept
    draw(model, 3)
    save("resnet_basic", model, lambda key: "fc" not in key, {"pixels": x} | stages(model, x))


def inception():
    plain = timm_inception.ConvNormAct
    timm_inception.ConvNormAct = lambda inputs, outputs, *args, **kwargs: plain(
        narrow(inputs), narrow(outputs), *args, **kwargs
    )
    model = timm_inception.InceptionV3(num_classes=0, aux_logits=False)
    timm_inception.ConvNormAct = plain
    draw(model, 4)
    x = pixels(5, 1, 3, 107, 91)

    average = timm_inception.F.avg_pool2d
    timm_inception.F.avg_pool2d = partial(average, count_include_pad=False)
    mixed_7a = model.Mixed_7a(model.forward_preaux(x))
    timm_inception.F.avg_pool2d = average
    later = ("Mixed_7b", "Mixed_7c", "fc")
    save(
        "inception_v3",
        model,
        lambda key: not key.startswith(later),
        {"pixels": x, "mixed_7a": mixed_7a},
    )


if __name__ == "__main__":
    torch.manual_seed(0)
    with torch.no_grad():
        resnets()
        inception()
    for path in sorted(HERE.glob("*.safetensors")):
        print(path.name, path.stat().st_size)
