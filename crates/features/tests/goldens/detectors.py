"""Writes the golden regions of crates/features/src/detector/tests.rs.

    python -m pip install torch==2.15.0 torchvision==0.29.2 safetensors==0.8.0
    python detectors.py modeling_frcnn.py       writes beside itself

`modeling_frcnn.py` is that of huggingface/transformers, examples/research_projects/lxmert, at commit
68a894a58 (PR 18368, August 2022), with the SHA-256 that is checked below. It imports a module
`utils` beside it for downloading; an empty one stands in.

The detector is built and run by its own code, with a few channels for each layer. Weights are
drawn, rounded to f16 and stored; batch norms get statistics that are not trivial. The layers
that boxes are chosen by are scaled so that no choice depends on rounding: `margins` prints the
smallest distance of logits, overlaps and confidences from a different choice, and fails below
MARGIN. Each file holds the weights, the `photo` [H, W, 3] in bytes, and the results, in f32:

    roi_ops.safetensors           torchvision.ops: roi_pool, nms
    bottom_up.safetensors         GeneralizedRCNN of modeling_frcnn.py: map `c4`, regions
"""

import hashlib
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import ops

HERE = Path(__file__).parent
SHA256 = "4259a2482001a8800d49ef8d6d923cc358220436b01e5dbe901b49258983a6d3"
MARGIN = 2e-5


def generator(seed):
    return torch.Generator().manual_seed(seed)


def uniform(tensor, low, high, source):
    """Numbers that f16 holds, so that what is stored is what ran."""
    values = torch.rand(tensor.shape, generator=source) * (high - low) + low
    tensor.copy_(values.half().float())


def draw(model, seed):
    source = generator(seed)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            bound = (6 / module.weight[0].numel()) ** 0.5
            uniform(module.weight, -bound, bound, source)
            if module.bias is not None:
                uniform(module.bias, -0.1, 0.1, source)
        if isinstance(module, nn.Embedding):
            uniform(module.weight, -1, 1, source)
        if isinstance(module, (nn.BatchNorm2d, ops.FrozenBatchNorm2d)):
            uniform(module.weight, 0.4, 1.0, source)
            uniform(module.bias, -0.3, 0.3, source)
            uniform(module.running_mean, -0.3, 0.3, source)
            uniform(module.running_var, 0.5, 1.5, source)
    return model.eval()


def rescale(layer, inputs, deviation):
    """A layer whose outputs for some inputs have a deviation, each output around zero."""
    with torch.no_grad():
        outputs = layer(inputs)
        axes = [axis for axis in range(outputs.dim()) if axis != 1]
        scale = deviation / outputs.std()
        layer.weight.copy_((layer.weight * scale).half().float())
        layer.bias.zero_()
        layer.bias.copy_((-layer(inputs).mean(axes)).half().float())


def photo(seed, height, width):
    """Patches and waves, in bytes."""
    source = generator(seed)
    coarse = torch.rand((1, 3, 5, 6), generator=source) * 255
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0]
    noise = torch.rand((3, height, width), generator=source) * 60 - 30
    return (smooth + noise).clamp(0, 255).byte().permute(1, 2, 0).contiguous()


def save(name, model, tensors):
    weights = {}
    if model is not None:
        weights = {
            key: value if "anchors" in key else value.half()
            for key, value in model.state_dict().items()
            if value.is_floating_point()
        }
    tensors = {key: value.clone().contiguous() for key, value in tensors.items()}
    path = HERE / f"{name}.safetensors"
    save_file(weights | tensors, path)
    assert path.stat().st_size < 200_000, path.stat().st_size


def margins(what, gap):
    print(f"{what}: nearest choice {gap:.1e}")
    assert gap > MARGIN, what


def gaps(scores):
    """Between neighbours; boxes that round to the same cells have equal scores, to the last bit,
    and of them the lower index is first everywhere."""
    ordered = scores.flatten().unique()
    return (ordered[1:] - ordered[:-1]).min().item()


def lead(logits):
    """Of the largest over the next."""
    best = logits.topk(2).values
    return (best[:, 0] - best[:, 1]).min().item()


def watched(suppress):
    """A suppression that first checks how far the overlaps of its boxes are from its limit."""

    def watch(boxes, *others):
        overlaps = ops.box_iou(boxes, boxes)
        near = (overlaps - others[-1]).abs()
        groups = others[1] if len(others) == 3 else torch.zeros(len(boxes))
        pairs = (groups[:, None] == groups[None]) & ~torch.eye(len(boxes), dtype=torch.bool)
        margins("overlaps", near[pairs].min().item() if pairs.any() else 1.0)
        return suppress(boxes, *others)

    return watch


def roi_ops():
    source = generator(1)
    maps = torch.randn((1, 5, 9, 11), generator=source)
    corner = torch.rand((24, 2), generator=source) * 120 - 20
    size = torch.rand((24, 2), generator=source) ** 2 * 120
    boxes = torch.cat([corner, corner + size], 1)
    rois = torch.cat([torch.zeros(24, 1), boxes], 1)
    scores = (torch.rand(60, generator=source) * 20).floor() / 20
    corner = torch.rand((60, 2), generator=source) * 60
    many = torch.cat([corner, corner + 5 + torch.rand((60, 2), generator=source) * 50], 1)
    tensors = {
        "map": maps,
        "boxes": boxes,
        "pooled": ops.roi_pool(maps, rois, (4, 3), 0.1),
        "many": many,
        "scores": scores,
        "nms": ops.nms(many, scores, 0.4),
    }
    save("roi_ops", None, tensors)


class Settings(types.SimpleNamespace):
    """Of nested dictionaries."""

    def __init__(self, settings):
        made = {k: Settings(v) if isinstance(v, dict) else v for k, v in settings.items()}
        super().__init__(**made)


BOTTOM_UP = {
    "MODEL": {"DEVICE": "cpu", "PIXEL_MEAN": [102.9801, 115.9465, 122.7717], "MAX_POOL": True},
    "BACKBONE": {"FREEZE_AT": 0},
    "RESNETS": {
        "NORM": "BN", "STEM_OUT_CHANNELS": 2, "OUT_FEATURES": ["res4"], "DEPTH": 50,
        "NUM_GROUPS": 1, "WIDTH_PER_GROUP": 2, "RES2_OUT_CHANNELS": 8, "STRIDE_IN_1X1": True,
        "RES5_DILATION": 1,
    },
    "ANCHOR_GENERATOR": {"SIZES": [[16, 32, 64]], "ASPECT_RATIOS": [[0.5, 1.0, 2.0]], "OFFSET": 0.0},
    "PROPOSAL_GENERATOR": {"HIDDEN_CHANNELS": 16, "MIN_SIZE": 0},
    "RPN": {
        "IN_FEATURES": ["res4"], "NMS_THRESH": 0.7, "BATCH_SIZE_PER_IMAGE": 1,
        "POSITIVE_FRACTION": 0.5, "SMOOTH_L1_BETA": 0.0, "LOSS_WEIGHT": 1.0,
        "PRE_NMS_TOPK_TRAIN": 1, "PRE_NMS_TOPK_TEST": 150, "POST_NMS_TOPK_TRAIN": 1,
        "POST_NMS_TOPK_TEST": 50, "BOUNDARY_THRESH": 0, "BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0),
        "IOU_THRESHOLDS": [0.3, 0.7], "IOU_LABELS": [0, -1, 1],
    },
    "ROI_HEADS": {
        "IN_FEATURES": ["res4"], "NUM_CLASSES": 10, "POSITIVE_FRACTION": 0.25,
        "PROPOSAL_APPEND_GT": False, "SCORE_THRESH_TEST": 0.2, "NMS_THRESH_TEST": [0.05, 0.3, 0.6],
    },
    "ROI_BOX_HEAD": {
        "CLS_AGNOSTIC_BBOX_REG": False, "POOLER_RESOLUTION": 14, "POOLER_SAMPLING_RATIO": 0,
        "RES5HALVE": False, "ATTR": True, "NUM_ATTRS": 7, "SMOOTH_L1_BETA": 0.0,
        "BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0),
    },
    "MIN_DETECTIONS": 20,
    "MAX_DETECTIONS": 20,
}


def load_port(path):
    found = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert found == SHA256, f"{path} has SHA-256 {found}, expected {SHA256}"
    stand_in = types.ModuleType("utils")
    for name in ["WEIGHTS_NAME", "Config", "cached_path", "hf_bucket_url", "is_remote_url", "load_checkpoint"]:
        setattr(stand_in, name, None)
    sys.modules["utils"] = stand_in
    port = types.ModuleType("modeling_frcnn")
    exec(compile(Path(path).read_text(), path, "exec"), port.__dict__)
    port.nms, port.batched_nms = watched(port.nms), watched(port.batched_nms)
    return port


def scaled(picture, shorter, longest):
    """`ResizeShortestEdge` of processing_image.py of the same folder, for floats, and its mean."""
    height, width = picture.shape[:2]
    scale = shorter / min(height, width)
    down, across = (shorter, scale * width) if height < width else (scale * height, shorter)
    if max(down, across) > longest:
        scale = longest / max(down, across)
        down, across = down * scale, across * scale
    size = (int(down + 0.5), int(across + 0.5))
    blue_first = picture.flip(2).float().permute(2, 0, 1)[None]
    pixels = nn.functional.interpolate(blue_first, size, mode="bilinear", align_corners=False)[0]
    mean = torch.tensor(BOTTOM_UP["MODEL"]["PIXEL_MEAN"]).view(3, 1, 1)
    return (pixels - mean)[None], torch.tensor([size]), torch.tensor([[height, width]]) / torch.tensor([size])


def bottom_up(path):
    port = load_port(path)
    model = draw(port.GeneralizedRCNN(Settings(BOTTOM_UP)), 11)
    picture = photo(12, 67, 90)
    pixels, sizes, scales = scaled(picture, 112, 150)
    print("pixels", tuple(pixels.shape), "scales", scales.tolist())

    # The first layer takes bytes: its batch norm makes them small.
    norm = model.backbone.stem.conv1.norm
    norm.running_var.mul_(1600).copy_(norm.running_var.half().float())
    maps = model.backbone(pixels)
    c4 = maps["res4"]
    print("c4", tuple(c4.shape), "deviation", c4.std().item())
    head = model.proposal_generator.rpn_head
    hidden = head.conv(c4).relu()
    rescale(head.objectness_logits, hidden, 3.0)
    rescale(head.anchor_deltas, hidden, 0.3)
    margins("logits of proposals", gaps(head.objectness_logits(hidden).flatten().topk(151).values))
    proposals, _ = model.proposal_generator(pixels, sizes, maps)
    features = model.roi_heads._shared_roi_transform(maps, proposals).mean((2, 3))
    print("features deviation", features.std().item(), "of columns", features.std(0).mean().item())
    predictor = model.roi_heads.box_predictor
    rescale(predictor.cls_score, features, 3.0)
    rescale(predictor.bbox_pred, features, 1.0)
    rows = predictor.cls_embedding(predictor.cls_score(features).argmax(1))
    rescale(predictor.attr_score, predictor.fc_attr(torch.cat([features, rows], 1)).relu(), 3.0)
    padding = {"padding": "max_detections", "max_detections": 20, "return_tensors": "pt"}
    out = model(pixels, sizes, scales_yx=scales, **padding)
    logits, attributes, _, _ = model.roi_heads(maps, proposals)
    margins("classes", lead(logits))
    margins("attributes", lead(attributes[:, :-1]))
    margins("confidences", gaps(logits.softmax(-1)[:, :-1].max(1).values))
    edges = torch.cat(proposals) / 16
    margins("cells of corners", ((edges - 0.5) - (edges - 0.5).round()).abs().min().item())
    print("regions", out["obj_ids"][0].tolist(), out["attr_ids"][0].tolist())
    print("confidences", [round(x, 3) for x in out["obj_probs"][0].tolist()])
    print("proposals", len(proposals[0]))
    save("bottom_up", model, {
        "photo": picture,
        "c4": c4,
        "features": out["roi_features"][0],
        "boxes": out["boxes"][0],
        "classes": out["obj_ids"][0],
        "confidences": out["obj_probs"][0],
        "attributes": out["attr_ids"][0],
        "attribute_confidences": out["attr_probs"][0],
    })


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with torch.no_grad():
        roi_ops()
        bottom_up(sys.argv[1])
    for name in ("roi_ops", "bottom_up"):
        path = HERE / f"{name}.safetensors"
        print(path.name, path.stat().st_size)
