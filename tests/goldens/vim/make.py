#!/usr/bin/env python3
"""Makes the reference values of tests/vim.c: logits of Vision Mamba networks, computed by torch in float64.

    tests/goldens/vim/make.py

digits.safetensors: of models/vim-digits, `logits` of its first 64 test pictures, and `right`, how many of all test pictures come out
right. FOLDER/: small networks of random weights in other shapes, with `pictures` and `logits` in golden.safetensors. The network is
models/vim-digits/train.py's, which follows the code of arXiv 2401.09417's authors. Needs torch, safetensors (made with torch 2.13)."""
import importlib.util
import json
import pathlib

import torch
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent
DIGITS = HERE.parents[2] / "models" / "vim-digits"
spec = importlib.util.spec_from_file_location("train", DIGITS / "train.py")
train = importlib.util.module_from_spec(spec)
spec.loader.exec_module(train)

# name: what differs from the digits' configuration
SMALL = {
    "rgb": dict(image_size=6, num_channels=3, num_classes=5, patch_size=2, hidden_size=20, num_layers=2, d_state=5, d_conv=3, expand=1,
                max_value=255, image_mean=0.4, image_std=0.25, layer_norm_eps=1e-6),
    "pixels": dict(image_size=5, num_classes=3, patch_size=1, hidden_size=8, num_layers=1, d_state=1, d_conv=2, max_value=1, image_mean=0.0,
                   image_std=1.0),
    "whole": dict(image_size=7, num_classes=4, patch_size=7, hidden_size=17, num_layers=2, d_state=3, d_conv=8),
}


def logits(config, tensors, pictures):
    model = train.Vim(config).double()
    model.load_state_dict({k: v.double() for k, v in tensors.items()})
    x = (pictures.double() / config["max_value"] - config["image_mean"]) / config["image_std"]
    with torch.no_grad():
        return model.eval()(x)


def make_small(name, change):
    torch.manual_seed(len(name))
    config, folder = {**train.CONFIG, **change}, HERE / name
    folder.mkdir(exist_ok=True)
    model = train.Vim(config)
    tensors = {k: (v + 0.2 * torch.randn_like(v)).half() for k, v in model.state_dict().items()}
    pictures = torch.rand(3, config["num_channels"], config["image_size"], config["image_size"]) * config["max_value"]
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({"pictures": pictures, "logits": logits(config, tensors, pictures).float()}, folder / "golden.safetensors")


def make_digits():
    config = json.loads((DIGITS / "config.json").read_text())
    test = load_file(DIGITS / "test.safetensors")
    out = logits(config, load_file(DIGITS / "model.safetensors"), test["pictures"][:, None])
    right = (out.argmax(1) == test["labels"]).sum().to(torch.int32)[None]
    save_file({"logits": out[:64].float().contiguous(), "right": right}, HERE / "digits.safetensors")
    print("digits:", int(right), "of", len(out))


torch.set_num_threads(1)
make_digits()
for name, change in SMALL.items():
    make_small(name, change)
