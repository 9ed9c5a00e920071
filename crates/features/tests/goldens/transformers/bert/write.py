"""Writes the golden files of this folder, and those of a published model outside the repository.

    python write.py                        tiny model, its states, its tokenizer, its pieces
    python write.py MODEL CAPTIONS.txt     expected_captions.txt and expected.safetensors into MODEL,
                                           for the tests that read UARD_MINILM

Versions that wrote the files here are in versions.txt.
"""

import json
import pathlib
import sys

import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, BertTokenizerFast

HERE = pathlib.Path(__file__).parent
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = (
    "a an the dog dogs kite red blue run ##ning ##s play ##ing in on snow sky two man woman with "
    "cafe naive 10 ##0 ##5 un ##believ ##able can ' t s . , ! ? - \" ( ) & / 一 只 狗 在 雪 é Dog Caf ##é"
)
CAPTIONS = [
    "A dog runs in the snow.",
    "Two dogs are playing with a red kite!",
    "  the   MAN can't  run \t in\nsnow ",
    "A café, naïve: Café NAÏVE",
    "一只狗在雪 in the snow",
    "unbelievable dogs' 10,005 kites (blue & red) - \"sky\"?",
    "x" * 101 + " dog " + "y" * 100,
    "dog \u2019s kite \u2026 \U0001f415 dog",
    "the [MASK] dog [SEP] kite",
    "control\u0000 char\u200d and soft\u00adhyphen",
    "I\u0307stanbul \ufb01sh \u00df",
    "",
    "   ",
    "!",
]
SEQUENCES = [[2, 7, 9, 30, 3], [2, 3], [2, 11, 12, 13, 40, 41, 42, 50, 51, 3], [5]]


def tiny_config(activation, vocabulary):
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=24,
        hidden_act=activation,
    )


def random_model(config):
    torch.manual_seed(7)
    model = BertModel(config, add_pooling_layer=True).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Far from their first values: a norm's weights of one and zeros in biases hide faults.
            noise = torch.randn_like(parameter)
            parameter.copy_(0.2 * noise + (1.0 if name.endswith("LayerNorm.weight") else 0.0))
    return model


def padded(sequences):
    longest = max(map(len, sequences))
    ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids in sequences])
    counts = torch.tensor([len(ids) for ids in sequences])
    return ids, counts, (torch.arange(longest) < counts[:, None]).long()


def states(model, sequences):
    ids, counts, mask = padded(sequences)
    with torch.no_grad():
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return ids, counts, hidden * mask[:, :, None]


def vocabulary():
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*LETTERS, *("##" + letter for letter in LETTERS)]
    return list(dict.fromkeys(specials + WORDS.split() + letters))


def pieces_of(tokenizer, caption, limit):
    encoding = tokenizer(caption, return_offsets_mapping=True, truncation=True, max_length=limit)
    in_bytes = lambda place: len(caption[:place].encode())
    return {
        "ids": encoding["input_ids"],
        "pieces": tokenizer.convert_ids_to_tokens(encoding["input_ids"]),
        "words": encoding.word_ids(),
        "bytes": [[in_bytes(start), in_bytes(end)] for start, end in encoding["offset_mapping"]],
    }


def write_pieces():
    vocabulary_path = HERE / "vocab.txt"
    vocabulary_path.write_text("\n".join(vocabulary()) + "\n")
    found = []
    for lower in [True, False]:
        tokenizer = BertTokenizerFast(vocab=str(vocabulary_path), do_lower_case=lower)
        if lower:
            tokenizer.backend_tokenizer.save(str(HERE / "tokenizer.json"))
        for limit in [24, 6]:
            for caption in CAPTIONS:
                entry = {"lower": lower, "limit": limit, "caption": caption}
                found.append(entry | pieces_of(tokenizer, caption, limit))
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in found)
    (HERE / "pieces.json").write_text(f"[\n{lines}\n]\n")


def write_model():
    size = len(vocabulary())
    expected = {}
    for activation in ["gelu", "gelu_new", "relu"]:
        model = random_model(tiny_config(activation, size))
        ids, counts, hidden = states(model, SEQUENCES)
        expected |= {f"states_{activation}": hidden}
        if activation == "gelu":
            tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
            save_file(tensors, HERE / "model.safetensors")
            torch.save(model.state_dict(), HERE / "pytorch_model.bin")
            model.config.to_json_file(HERE / "config.json")
    expected |= {"ids": ids, "counts": counts}
    save_file(expected, HERE / "expected.safetensors")


def write_published(folder, captions):
    model = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    captions = captions.read_text().splitlines()[:2000:100]
    sequences = [tokenizer(caption)["input_ids"] for caption in captions]
    ids, counts, hidden = states(model, sequences)
    (folder / "expected_captions.txt").write_text("\n".join(captions) + "\n")
    save_file({"ids": ids, "counts": counts, "states": hidden}, folder / "expected.safetensors")


if len(sys.argv) == 3:
    write_published(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
else:
    write_pieces()
    write_model()
    versions = [f"{name.__name__} {name.__version__}" for name in [torch, transformers, tokenizers]]
    (HERE / "versions.txt").write_text("\n".join(versions) + "\n")
