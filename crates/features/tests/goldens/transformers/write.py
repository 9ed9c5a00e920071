"""Writes the golden files of this folder: tiny models with random weights in published names, the
tokens and states that transformers gives for them, and tiny tokenizers.

    python write.py

Versions that wrote the files here are in versions.txt. The folders clip, siglip, dinov2 and
dinov2_with_registers are what a download has: config.json, model.safetensors,
preprocessor_config.json, tokenizer files.
"""

import json
import pathlib

import tokenizers
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BitImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

HERE = pathlib.Path(__file__).parent
PHOTO = HERE.parent / "photos" / "rgb.jpg"
CAPTIONS = [
    "A dog runs in the snow.",
    "Two dogs are playing with a red kite!",
    "  the   MAN can't  run \t in\nsnow ",
    "A café, naïve: Café NAÏVE",
    "一只狗在雪 in the snow 🐕",
    "he's 10,005 kites' (blue & red)",
    "<|endoftext|> dog",
    "!",
    "",
]
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
VISION = TEXT | {"hidden_size": 20, "intermediate_size": 28, "patch_size": 5}


def random_weights(model):
    torch.manual_seed(11)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Far from their first values: a norm's weights of one and zeros in biases hide faults.
            is_scale = "norm" in name and name.endswith("weight") or "lambda" in name
            parameter.copy_(0.25 * torch.randn_like(parameter) + (1.0 if is_scale else 0.0))
    return model.eval()


def pixels(sides):
    torch.manual_seed(5)
    return torch.randn(2, 3, *sides)


def rows(tokens):
    """[N, H, W, F] or [N, P, F], as it is compared."""
    return tokens.detach().contiguous()


def save(model, processor, folder):
    folder.mkdir(exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    for extra in ["generation_config.json"]:
        (folder / extra).unlink(missing_ok=True)


def photo_tokens(processor, run):
    image = Image.open(PHOTO).convert("RGB")
    with torch.no_grad():
        return rows(run(processor(images=image, return_tensors="pt")["pixel_values"]))


def clip_tokenizer(folder):
    """The byte-level pieces of CLIP, with merges that a few captions teach."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = alphabet + [letter + "</w>" for letter in alphabet]
    merges = [("d", "o"), ("do", "g</w>"), ("t", "h"), ("th", "e</w>"), ("s", "n"), ("o", "w</w>")]
    merges += [("sn", "ow</w>"), ("r", "u"), ("i", "n</w>"), ("c", "a"), ("ca", "f")]
    pieces += ["".join(merge) for merge in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    lines = [" ".join(merge) for merge in merges]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]) + "\n")
    return tokenizer.backend_tokenizer


def siglip_tokenizer(folder):
    """A unigram model of pieces with a mark for the space before a word, as sentencepiece has."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=70, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([caption for caption in CAPTIONS if caption.isascii()] * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def pieces_of(tokenizer, caption, limit):
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    encoding = tokenizer.encode(caption)
    in_bytes = lambda place: len(caption[:place].encode())
    special = encoding.special_tokens_mask
    return {
        "limit": limit,
        "caption": caption,
        "ids": encoding.ids,
        "pieces": encoding.tokens,
        "words": [None if s else w for w, s in zip(encoding.word_ids, special)],
        "bytes": [[in_bytes(start), in_bytes(end)] for start, end in encoding.offsets],
    }


def write_pieces(tokenizer, folder):
    found = [pieces_of(tokenizer, caption, limit) for limit in [20, 6] for caption in CAPTIONS]
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in found)
    (folder / "pieces.json").write_text(f"[\n{lines}\n]\n")
    return [entry["ids"] for entry in found]


def padded(sequences, longest, pad):
    return torch.tensor([ids + [pad] * (longest - len(ids)) for ids in sequences])


def text_states(model, sequences, longest, pad):
    """Each caption's own states; what is behind them is zero."""
    ids = padded(sequences, longest, pad)
    with torch.no_grad():
        states = model(input_ids=ids).last_hidden_state
    counts = torch.tensor([len(ids) for ids in sequences])
    valid = (torch.arange(longest) < counts[:, None]).float()
    return {"ids": ids, "counts": counts, "states": rows(states * valid[:, :, None])}


def write_clip():
    folder = HERE / "clip"
    folder.mkdir(exist_ok=True)
    tokenizer = clip_tokenizer(folder)
    end = tokenizer.token_to_id("<|endoftext|>")
    text = TEXT | {
        "vocab_size": tokenizer.get_vocab_size(),
        "max_position_embeddings": 20,
        "bos_token_id": end - 1,
        "eos_token_id": end,
    }
    vision = VISION | {"image_size": 20}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    model = random_weights(CLIPModel(config))
    size = {"size": {"shortest_edge": 20}, "crop_size": {"height": 20, "width": 20}}
    processor = CLIPImageProcessorPil(**size)
    save(model, processor, folder)

    def hidden(pixel_values, **kwargs):
        return model.vision_model(pixel_values, **kwargs).last_hidden_state[:, 1:]

    def projected(pixel_values):
        return model.visual_projection(model.vision_model.post_layernorm(hidden(pixel_values)))

    square, larger = pixels((20, 20)), pixels((30, 25))
    sequences = write_pieces(tokenizer, folder)
    expected = text_states(model.text_model, sequences, 20, end) | {
        "pixels_0": square,
        "hidden_0": rows(hidden(square)),
        "projected_0": rows(projected(square)),
        "pixels_1": larger,
        "hidden_1": rows(hidden(larger, interpolate_pos_encoding=True)),
        "photo_hidden": photo_tokens(processor, hidden),
    }
    save_file(expected, folder / "expected.safetensors")


def write_siglip():
    folder = HERE / "siglip"
    folder.mkdir(exist_ok=True)
    tokenizer = siglip_tokenizer(folder)
    text = TEXT | {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 20}
    # 22 is no multiple of 5: the last two pixels belong to no patch.
    vision = VISION | {"image_size": 22}
    model = random_weights(SiglipModel(SiglipConfig(text_config=text, vision_config=vision)))
    processor = SiglipImageProcessorPil(size={"height": 22, "width": 22})
    save(model, processor, folder)
    hidden = lambda pixel_values: model.vision_model(pixel_values).last_hidden_state
    square = pixels((22, 22))
    sequences = write_pieces(tokenizer, folder)
    expected = text_states(model.text_model, sequences, 20, 1) | {
        "pixels_0": square,
        "hidden_0": rows(hidden(square)),
        "photo_hidden": photo_tokens(processor, hidden),
    }
    save_file(expected, folder / "expected.safetensors")


def write_dinov2(name, model, registers):
    folder = HERE / name
    random_weights(model)
    size = {"size": {"shortest_edge": 24}, "crop_size": {"height": 20, "width": 20}}
    colours = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    processor = BitImageProcessorPil(**size, **colours)
    save(model, processor, folder)
    hidden = lambda pixel_values: model(pixel_values).last_hidden_state[:, 1 + registers :]
    expected = {"photo_hidden": photo_tokens(processor, hidden)}
    # The size of the positions, fewer patches than those, more of them.
    for case, sides in enumerate([(35, 35), (20, 15), (40, 50)]):
        batch = pixels(sides)
        expected |= {f"pixels_{case}": batch, f"hidden_{case}": rows(hidden(batch))}
    save_file(expected, folder / "expected.safetensors")


def dinov2_sizes(**more):
    sizes = {key: value for key, value in VISION.items() if key != "intermediate_size"}
    return sizes | {"image_size": 35, "mlp_ratio": 2} | more


def main():
    write_clip()
    write_siglip()
    write_dinov2("dinov2", Dinov2Model(Dinov2Config(**dinov2_sizes())), 0)
    gated = Dinov2Config(**dinov2_sizes(use_swiglu_ffn=True))
    write_dinov2("dinov2_gated", Dinov2Model(gated), 0)
    registers = Dinov2WithRegistersConfig(**dinov2_sizes(num_register_tokens=3))
    write_dinov2("dinov2_with_registers", Dinov2WithRegistersModel(registers), 3)
    names = [torch, transformers, tokenizers]
    versions = [f"{name.__name__} {name.__version__}" for name in names]
    (HERE / "versions.txt").write_text("\n".join(versions) + "\n")


main()
