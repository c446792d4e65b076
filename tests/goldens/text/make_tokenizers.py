#!/usr/bin/env python3
"""Writes tokenizers.jsonl: what transformers' CLIPTokenizer makes of tokenizer folders. Each line has

    files   the JSON files that lie beside the default model's vocab.json and merges.txt; of tokenizer.json all but its
            model, and under "merges" how those are written in it: "pairs" or "lines". "only": the two are not there
    pad, pad_id, length   padding token, its id, model_max_length (null: no limit)
    texts, ids            and the ids of each text, with begin and end; texts are left out where they are those of the line before

A prompt goes through diffusers' maybe_convert_prompt first, as it does in the pipelines.

usage: make_tokenizers.py (transformers 5.24, diffusers 0.42)"""

import json
import logging
import pathlib
import random
import shutil
import tempfile

from diffusers.loaders import TextualInversionLoaderMixin
from transformers import CLIPTokenizer

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE.parents[2] / "models/emoji-128/tokenizer"
VOCABULARY = json.loads((MODEL / "vocab.json").read_text())
MERGES = [line.split(" ") for line in (MODEL / "merges.txt").read_text().split("\n")[1:] if line]
SIZE = len(VOCABULARY)
TEXTS = [
    "a red cat! Wow !",
    "a <cat-toy> on <cat-toy>-grass, <CAT-TOY>!  x<cat-toy>y",
    "<|startoftext|>a<|STARTOFTEXT|> cat<|endoftext|><|EndOfText|> (my cat) My \t Cat SKS sks_ [PAD]",
]
END = "<|endoftext|>"


def token(content, **more):
    return dict({"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}, **more)


def typed(content, **more):
    return token(content, __type="AddedToken", **more)


def decoder(*contents):
    ids = {"!": 0, "<|startoftext|>": 3512, END: 3513}
    return {str(ids[c]): token(c, special=True) for c in contents}


def folder(config=None, tokens=None, **others):
    files = {}
    if config is not None:
        files["tokenizer_config.json"] = config
    if tokens is not None:
        files["special_tokens_map.json"] = tokens
    for name, value in others.items():
        files[name + ".json"] = value
    return files


PADS_WITH_SIGN = {
    "direction": "Right", "pad_id": 0, "pad_to_multiple_of": None, "pad_token": "!", "pad_type_id": 0, "strategy": {"Fixed": 77}
}
NORMALIZER = {"type": "Sequence", "normalizers": [
    {"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Lowercase"}]}


def fast(*added, merges="pairs", only=True, **more):
    """tokenizer.json without its model."""
    return dict({"version": "1.0", "truncation": None, "padding": None, "added_tokens": list(added), "normalizer": NORMALIZER,
                 "pre_tokenizer": None, "post_processor": None, "decoder": None, "merges": merges, "only": only}, **more)


def described(content, id, **more):
    return dict(token(content, special=False), id=id, **more)


CAT = described("<cat-toy>", SIZE)
ENDS = (described("<|startoftext|>", 3512, special=True), described(END, 3513, special=True, normalized=False))

LAYOUTS = [
    folder(),
    folder({}),
    folder({"pad_token": END}),
    folder({"pad_token": "!"}),
    folder({"pad_token": typed("!")}),
    folder({"pad_token": typed("!", normalized=False)}),
    folder(tokens={"pad_token": "!"}),
    folder(tokens={"pad_token": token("!")}),
    folder({"pad_token": END}, {"pad_token": "!"}),  # Stable Diffusion 2.x as it was published
    folder({"pad_token": END}, {"pad_token": token("!", normalized=False)}),
    folder({"pad_token": typed(END)}, {"pad_token": token("!")}),
    folder({"pad_token": "!"}, {"pad_token": END}),
    folder({"pad_token": "!"}, {"bos_token": "<|startoftext|>"}),
    folder({"pad_token": None}, {"pad_token": "!"}),
    folder({"bos_token": typed("<|startoftext|>")}, {"pad_token": "!"}),
    folder({"pad_token": END, "added_tokens_decoder": decoder("<|startoftext|>", END)}, {"pad_token": "!"}),
    folder({"pad_token": "!", "added_tokens_decoder": decoder("!", "<|startoftext|>", END)}, {"pad_token": END}),
    folder({"pad_token": typed("!"), "added_tokens_decoder": {}}, {"pad_token": END}),
    folder({"added_tokens_decoder": {}}, {"pad_token": "!"}),
    folder({"pad_token": "a</w>"}),
    folder({"pad_token": END}, tokenizer=fast(*ENDS, padding=PADS_WITH_SIGN)),  # what it says of padding does not count
    folder({"pad_token": "!"}, tokenizer=fast()),
    folder(None, {"pad_token": "!"}, tokenizer=fast()),
    folder({"pad_token": END, "model_max_length": 77}, {"pad_token": "!"}),
    folder({"pad_token": END, "model_max_length": int(1e30)}, {"pad_token": "!"}),
    folder({"model_max_length": 64}),
    folder({"max_len": 32}),
    folder({"pad_token": "[PAD]", "model_max_length": 10}),
    # As transformers 5 saves it, and as 4 did: pairs, lines, with and without the older files.
    folder({"pad_token": END, "model_max_length": 77}, tokenizer=fast(*ENDS)),
    folder({"pad_token": END, "model_max_length": 77}, tokenizer=fast(*ENDS, merges="lines")),
    folder({"pad_token": END, "model_max_length": 77}, {"pad_token": "!"}, tokenizer=fast(*ENDS, only=False)),
    folder(tokenizer=fast(*ENDS, normalizer=None)),
    folder({}, tokenizer=fast(CAT)),
    folder({}, tokenizer=fast(*ENDS, CAT, only=False)),
    folder({"added_tokens_decoder": decoder(END)}, tokenizer=fast(*ENDS, CAT)),
    # Added tokens.
    folder({}, added_tokens={"<cat-toy>": SIZE}),
    folder({}, added_tokens={"<cat-toy>_1": SIZE + 1, "<cat-toy>": SIZE, "<cat-toy>_2": SIZE + 2}),
    folder({}, added_tokens={"<Cat-Toy>": SIZE, "my  cat": SIZE + 1, "sks": SIZE + 2}),
    folder({}, added_tokens={"<cat": SIZE, "<cat-toy>": SIZE + 1, "toy>-": SIZE + 2}),  # the longest
    folder({}, added_tokens={"<cat-toy>": SIZE + 5}),  # the next number, not this one
    folder({}, added_tokens={"cat</w>": VOCABULARY["cat</w>"], "cat": VOCABULARY["cat"] if "cat" in VOCABULARY else SIZE}),
    folder({}, {"additional_special_tokens": ["<cat-toy>"]}),
    folder({}, {"additional_special_tokens": ["<cat-toy>"]}, added_tokens={"<cat-toy>": SIZE}),
    folder({"additional_special_tokens": ["<cat-toy>", typed("sks", single_word=True)]}),
    folder({"extra_special_tokens": ["<cat-toy>"]}, {"additional_special_tokens": ["sks"]}),
    folder({"extra_special_tokens": {"image_token": "<cat-toy>"}}),
    folder({"image_token": "<cat-toy>"}),
    folder({"split_special_tokens": True, "additional_special_tokens": ["<cat-toy>"]}),
    folder({"added_tokens_decoder": {str(SIZE): token("<cat-toy>", special=False)}}, added_tokens={"sks": SIZE}),
    folder({"added_tokens_decoder": {str(SIZE): token("sks", single_word=True, special=False)}}),
    folder({"added_tokens_decoder": {str(SIZE): token("sks", normalized=False, lstrip=True, rstrip=True, special=True)}}),
    folder({"eos_token": typed(END), "unk_token": typed(END, normalized=False), "pad_token": typed(END)}),
    folder({"eos_token": typed(END, normalized=False), "unk_token": typed(END), "pad_token": typed(END)}),
]

CONTENTS = ["<cat-toy>", "sks", "my  cat", "<b>", "<b>x", "<é>", "[PAD]", "!", "cat", "🐱", "🐱🐱", "ſ", "<STYLE>", "a</w>", "_", "中"]


def anyhow(rnd, content, **more):
    flags = {name: rnd.random() < 0.4 for name in ("lstrip", "rstrip", "normalized", "single_word")}
    return dict({"content": content}, **flags, **more)


def numbered(rnd, count):
    return {c: VOCABULARY.get(c, SIZE + i) for i, c in enumerate(rnd.sample(CONTENTS, count))}


def random_folder(rnd):
    def value(content, **more):
        return content if rnd.random() < 0.5 else anyhow(rnd, content, **more)

    def named(keys, **more):
        return {key: value(c, **more) for key, c in keys.items() if rnd.random() < 0.6}

    names = {"bos_token": "<|startoftext|>", "eos_token": END, "unk_token": END, "pad_token": rnd.choice([END, "!", "[PAD]"])}
    files = {}
    if rnd.random() < 0.8:
        files["tokenizer_config"] = named(names, __type="AddedToken")
        if rnd.random() < 0.4:
            files["tokenizer_config"]["additional_special_tokens"] = [
                value(c, __type="AddedToken") for c in rnd.sample(CONTENTS, 2)]
        if rnd.random() < 0.3:
            files["tokenizer_config"]["added_tokens_decoder"] = {
                str(id): anyhow(rnd, c, special=rnd.random() < 0.5) for c, id in numbered(rnd, 3).items()}
    if rnd.random() < 0.5:
        files["special_tokens_map"] = named(names)
    if rnd.random() < 0.5:
        files["added_tokens"] = numbered(rnd, rnd.randint(1, 4))
    if rnd.random() < 0.5:
        added = [anyhow(rnd, c, id=id, special=rnd.random() < 0.5) for c, id in numbered(rnd, rnd.randint(0, 4)).items()]
        files["tokenizer"] = fast(*added, merges=rnd.choice(["pairs", "lines"]), only=rnd.random() < 0.5)
    return {name + ".json": content for name, content in files.items()}


def random_text(rnd):
    words = ["a", "Red", "cat", "CAT", "toy", "!", "?!", "...", "'s", "don't", "123", "a1b2", "<|", "|>", "<|endoftext|>",
             "<|ENDOFTEXT|>", "<|startoftext|>", "e\u0301", "\u0130", "\xdf\u03a3", "\u2460", "\u24b6"]
    parts = []
    for _ in range(rnd.randint(4, 16)):
        word = rnd.choice(CONTENTS if rnd.random() < 0.5 else words)
        parts.append(word if rnd.random() < 0.7 else word.upper())
        parts.append(rnd.choice(["", " ", " ", "  ", "\t", "\u3000"]))
    return "".join(parts)


def write(name, files):
    files = dict(files)
    whole = dict(files.pop("tokenizer.json", {}))
    if whole:
        merges = whole.pop("merges")
        if whole.pop("only"):
            (name / "vocab.json").unlink()
            (name / "merges.txt").unlink()
        whole["model"] = {
            "type": "BPE", "dropout": None, "unk_token": END, "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
            "fuse_unk": False, "vocab": VOCABULARY, "merges": MERGES if merges == "pairs" else [" ".join(m) for m in MERGES]}
        files["tokenizer.json"] = whole
    for file, content in files.items():
        (name / file).write_text(json.dumps(content))


def row(files, texts):
    with tempfile.TemporaryDirectory() as name:
        for file in ("vocab.json", "merges.txt"):
            shutil.copy(MODEL / file, name)
        write(pathlib.Path(name), files)
        tokenizer = CLIPTokenizer.from_pretrained(name)
        convert = TextualInversionLoaderMixin()._maybe_convert_prompt
        ids = [tokenizer(convert(text, tokenizer)).input_ids for text in texts]
    length = tokenizer.model_max_length
    return {"files": files, "pad": tokenizer.pad_token, "pad_id": tokenizer.pad_token_id,
            "length": length if length < 1e6 else None, "texts": texts, "ids": ids}


def write_rows(rows, out):
    before = None
    for row in rows:
        texts = row["texts"]
        if texts == before:
            del row["texts"]
        before = texts
        out.write(json.dumps(row, separators=(",", ":")) + "\n")


def main():
    logging.disable(logging.CRITICAL)
    rnd = random.Random(1)
    rows = []
    for files in LAYOUTS:
        # In another case diffusers takes the first vector only, and sdgen all of them.
        several = "<cat-toy>_1" in json.dumps(files)
        rows.append(row(files, [text.lower() for text in TEXTS] if several else TEXTS))
    rows += [row(random_folder(rnd), [random_text(rnd) for _ in range(3)]) for _ in range(8)]
    with open(HERE / "tokenizers.jsonl", "w") as out:
        write_rows(rows, out)


main()
