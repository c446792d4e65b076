"""Token ids of transformers' CLIPTokenizer with the vocabulary of models/emoji-128, for tests/tokenizer.c.

    python make_tokens.py [tokens.jsonl]      (needs transformers and tokenizers; from any folder)

One object a line: text, ids (with begin and end, not cut) and, where there are more than 77, ids77 = truncated to 77; pad is the padding
token the tokenizer was made with, of texts whose ids depend on it. Random texts leave out characters whose data depends on the Unicode version: those that this
Python does not assign, and marks that the tokenizers library does not reorder yet."""
import json
import os
import random
import sys
import unicodedata

from tokenizers import normalizers
from transformers import CLIPTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "../../../models/emoji-128/tokenizer")
END = "<|endoftext|>"

FIXED = [
    "", " ", "\t\n\r\x0b\x0c", "a", "A cat", "a red apple, 3d", "Grinning FACE with big eyes", "it's he'll they're I'd we've I'm don't",
    "IT'S DON'T", "'s", "''s", "'S't'RE", "rock'n'roll", "'\u017f", "1234", "v1.5", "3rd", "\u00bd\u00b2\u2167\u0663", "a1b2", "x_y-z",
    "wow! !! a!b", "!", "!\u0301", "(cat:1.2) [dog] \\(x\\)", "&amp; <b>", "caf\u00e9 cafe\u0301", "\u212bngstro\u0308m \u212a \u2126",
    "\u0130stanbul I\u0307 \u0131", "\u039f\u0394\u039f\u03a3 \u03a3 \u03c2", "Stra\u00dfe STRA\u1e9eE", "\ufb01 \u01c5 \u01c4", "\uff26\uff35\uff2c\uff2c \uff11\uff12",
    "\u65e5\u672c\u8a9e \u4f60\u597d\uff01", "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab", "\uac00\u11a7\u11a8", "\u1100\u1161\u11a7", "\u0915\u093c \u0958 \u09c7\u09be",
    "e\u0316\u0301 e\u0301\u0316 \u0344", "a" + "\u0301\u0316\u0334" * 40, "\U0001d15e \U00011099\U000110ba", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f1e9\U0001f1ea", "1\ufe0f\u20e3",
    "a\u00a0b\u2003c\u3000d\u2028e\u0085f\u1680g", "a\u200bb\ufeffc\u180ed", "a\x01b\x1fc\x7fd", "\ue000\uf8ff", "\U000e0041\U0010ffff\ufffe",
    END, "a" + END + "b", END + END, "<|startoftext|>", "a<|STARTOFTEXT|>!b", "a<|EndOfText|>!b", "<|ENDOFTEXT|>'s", "!<|ENDOFTEXT|>", "<|endoftext|",
    "<|endof" + END + "text|>", "<|startoftext|><|startoftext", "</w>", "a</w> b", "the " * 80, "x " * 74, "x " * 75, "x " * 76, "x " * 77,
    "supercalifragilisticexpialidocious" * 30, "ab" * 600, "!?" * 100, "a" * 77,
]

WORDS = "a the red blue green big small happy sad cat dog horse rocket pizza heart square flat noto 3d style photo of with in on".split()


def stable_characters():
    nfc = normalizers.NFC()
    for code in range(1, 0x110000):
        c = chr(code)
        if unicodedata.category(c) in ("Cs", "Cn"):
            continue
        probe = "x" + c + "\u0334"
        if nfc.normalize_str(probe) == unicodedata.normalize("NFC", probe):
            yield c


def random_texts(count):
    r = random.Random(20)
    by_category = {}
    for c in stable_characters():
        by_category.setdefault(unicodedata.category(c), []).append(c)
    categories = sorted(by_category)
    marks = by_category["Mn"]
    decomposing = [c for k in ("Ll", "Lu", "Lo") for c in by_category[k] if unicodedata.normalize("NFD", c) != c]
    pieces = ["'s", "'T", "'", "''", " ", "  ", "\n", "!", "<|", "|>", END, "<|StartOfText|>", "<|ENDOFTEXT|>", "12", "\u0130", "\u03a3", "\u200d"]
    sources = [
        lambda: r.choice(by_category[r.choice(categories)]),
        lambda: r.choice(pieces),
        lambda: r.choice(WORDS) + r.choice([" ", ", ", ""]),
        lambda: r.choice("aeoI1<") + "".join(r.choice(marks) for _ in range(r.randrange(4))),
        lambda: r.choice(decomposing) + r.choice(["", r.choice(marks)]),
        lambda: chr(r.choice([r.randrange(0x1100, 0x1113), r.randrange(0x1161, 0x1176), r.randrange(0x11a7, 0x11c3)])),
        lambda: chr(r.randrange(1, 0x180)),
    ]
    for i in range(count):
        some = r.sample(sources, r.randint(1, 4))
        yield "".join(r.choice(some)() for _ in range(r.randint(1, 16)))


def ids_of(tokenizer, text):
    row = {"ids": tokenizer(text).input_ids}
    if len(row["ids"]) > 77:
        row["ids77"] = tokenizer(text, truncation=True, max_length=77).input_ids
    return row


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "tokens.jsonl")
    texts = list(dict.fromkeys(FIXED + list(random_texts(60))))
    with open(path, "w", encoding="ascii") as f:
        tokenizers = {pad: CLIPTokenizer.from_pretrained(MODEL, pad_token=pad) for pad in (END, "!")}
        for text in texts:
            rows = {pad: ids_of(tokenizer, text) for pad, tokenizer in tokenizers.items()}
            same = rows[END] == rows["!"]
            for pad in (END,) if same else (END, "!"):
                row = {"text": text, **({} if same else {"pad": pad}), **rows[pad]}
                f.write(json.dumps(row, separators=(",", ":")) + "\n")
    print(len(texts), "texts, 2 padding tokens:", path)


if __name__ == "__main__":
    main()
