"""Writes names.json and expected.safetensors: the names and shapes of tiny networks of timm and
transformers, and what those give for some cells of one photo.

    python write.py

Weights and pixels are not stored: they come from a formula of their name, here `numbers` and in
crates/features/src/backbone/candle/tests.rs. Written with torch 2.15.0, timm 1.0.31 and
transformers 5.23.0.
"""

import json
import pathlib
import tempfile
from functools import partial

import numpy
import torch
from safetensors.torch import load_file, save_file
from timm.models.eva import Eva
from timm.models.fastvit import FastVit, RepConditionalPosEnc
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    ViTConfig,
    ViTModel,
)

HERE = pathlib.Path(__file__).parent
# One of so many cells is stored, counted row by row.
EVERY = {"eva02": 53}


def numbers(name, shape):
    """A hash of name and place, uniform from -0.25 to 0.25; scales are around one."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = (seed ^ byte) * 0x01000193 & 0xFFFFFFFF
    count = int(numpy.prod(shape))
    x = (seed + numpy.arange(count, dtype=numpy.uint64) * 2654435761) & 0xFFFFFFFF
    for shift, factor in [(16, 0x7FEB352D), (15, 0x846CA68B)]:
        x = (x ^ (x >> shift)) * factor & 0xFFFFFFFF
    x = x ^ (x >> 16)
    uniform = (x >> 8).astype(numpy.float32) / 2**24 - 0.5
    is_scale = len(shape) == 1 and name.endswith((".weight", "running_var"))
    values = numpy.float32(0.5) * uniform + numpy.float32(is_scale)
    return torch.from_numpy(values.reshape(tuple(shape)))


def filled(model):
    """Stored names of a model, and the model with the formula's weights."""
    published = hasattr(model, "save_pretrained")
    if published:
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            stored = load_file(pathlib.Path(folder) / "model.safetensors")
    else:
        stored = model.state_dict()
    stored = {name: tensor for name, tensor in stored.items() if tensor.is_floating_point()}
    weights = {name: numbers(name, tensor.shape) for name, tensor in stored.items()}
    if published:
        with tempfile.TemporaryDirectory() as folder:
            model.config.save_pretrained(folder)
            save_file(weights, pathlib.Path(folder) / "model.safetensors", {"format": "pt"})
            model = type(model).from_pretrained(folder, attn_implementation="eager")
    else:
        model.load_state_dict(weights, strict=False)
    return model.eval(), {name: list(tensor.shape) for name, tensor in weights.items()}


def fastvit(channels, attention):
    position = partial(RepConditionalPosEnc, spatial_shape=(7, 7))
    last = {"pos_embs": (None, None, None, position), "lkc_use_act": True} if attention else {}
    return FastVit(
        layers=(1, 1, 2, 1),
        embed_dims=[channels * 2**stage for stage in range(4)],
        mlp_ratios=(2, 2, 2, 2),
        token_mixers=("repmixer",) * 3 + ("attention" if attention else "repmixer",),
        se_downsamples=(False, False, attention, attention),
        num_classes=2,
        **last,
    )


TINY = {"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
PATCHES = {"image_size": 32, "patch_size": 8}
TEXT = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}


def cases():
    """Name, side of the photo, model, and its cells [1, T, F] of pixels."""
    map_of = lambda model, pixels: model.forward_features(pixels).flatten(2).transpose(1, 2)
    behind_class = lambda model, pixels: model.forward_features(pixels)[:, 1:]
    yield "fastvit", 96, fastvit(16, False), map_of
    yield "fastvit_attention", 96, fastvit(16, True), map_of
    eva02 = Eva(
        img_size=448, patch_size=14, embed_dim=64, depth=2, num_heads=1, num_classes=1000,
        qkv_fused=False, mlp_ratio=4 * 2 / 3, swiglu_mlp=True, scale_mlp=True,
        use_rot_pos_emb=True, ref_feat_shape=(16, 16),
    )
    yield "eva02", 448, eva02, behind_class
    vit = ViTModel(ViTConfig(**TINY, **PATCHES), add_pooling_layer=False)
    yield "vit", 32, vit, lambda model, pixels: model(pixels).last_hidden_state[:, 1:]
    text = TEXT | {"vocab_size": 9, "encoder_hidden_size": 16}
    blip = BlipConfig(text_config=text, vision_config=TINY | PATCHES)
    run = lambda model, pixels: model.vision_model(pixels).last_hidden_state[:, 1:]
    yield "blip", 32, BlipForConditionalGeneration(blip), run
    chinese = ChineseCLIPConfig(text_config=TEXT | {"vocab_size": 9}, vision_config=TINY | PATCHES)
    yield "chinese_clip", 32, ChineseCLIPModel(chinese), run


names, expected = {}, {}
for case, side, model, run in cases():
    model, names[case] = filled(model)
    with torch.no_grad():
        cells = run(model, numbers("pixels", (1, 3, side, side)))[0]
    print(case, tuple(cells.shape), cells.std().item(), cells.abs().max().item())
    expected[case] = cells[:: EVERY.get(case, 1)].contiguous()
lines = []
for case, shapes in names.items():
    tensors = ",\n".join(f'  {json.dumps(name)}: {shape}' for name, shape in shapes.items())
    lines.append(f'"{case}": {{\n{tensors}\n}}')
(HERE / "names.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
save_file(expected, HERE / "expected.safetensors")
