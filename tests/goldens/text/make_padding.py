#!/usr/bin/env python3
"""Writes padding.jsonl: what transformers' CLIPTokenizer makes of tokenizer folders that name the padding token in
different files and ways. Each line has the files that lie beside the default model's vocab.json and merges.txt, and the
ids of a text, padded to 77 tokens.

usage: make_padding.py (transformers 5.23)"""

import json
import pathlib
import shutil
import tempfile

from transformers import CLIPTokenizer

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE.parents[2] / "models/emoji-128/tokenizer"
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
    folder({"pad_token": END}, tokenizer=PADS_WITH_SIGN),  # what tokenizer.json itself says of padding does not count
    folder({"pad_token": "!"}, tokenizer={}),
    folder(None, {"pad_token": "!"}, tokenizer={}),
    folder({"pad_token": END, "model_max_length": 77}, {"pad_token": "!"}),
    folder({"pad_token": END, "model_max_length": int(1e30)}, {"pad_token": "!"}),
]


def fast(name, padding):
    """tokenizer.json as transformers saves it, here with padding."""
    with tempfile.TemporaryDirectory() as saved:
        CLIPTokenizer.from_pretrained(name).save_pretrained(saved)
        content = json.loads(pathlib.Path(saved, "tokenizer.json").read_text())
    content["padding"] = padding or None
    return content


def main():
    with open(HERE / "padding.jsonl", "w") as out:
        for files in LAYOUTS:
            with tempfile.TemporaryDirectory() as name:
                for file in ("vocab.json", "merges.txt"):
                    shutil.copy(MODEL / file, name)
                if "tokenizer.json" in files:
                    files["tokenizer.json"] = fast(name, files["tokenizer.json"])
                for file, content in files.items():
                    pathlib.Path(name, file).write_text(json.dumps(content))
                tokenizer = CLIPTokenizer.from_pretrained(name)
                ids = tokenizer("a red cat! Wow !", padding="max_length", max_length=77, truncation=True).input_ids
            files.pop("tokenizer.json", None)  # as large as the vocabulary, and nothing here is taken from it
            row = {"files": files, "pad": tokenizer.pad_token, "ids": ids}
            out.write(json.dumps(row) + "\n")


main()
