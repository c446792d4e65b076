#!/usr/bin/env python3
"""Trains the Vision Mamba classifier of this folder and writes config.json, model.safetensors, calibration.safetensors, test.safetensors.

    models/vim-digits/train.py [OUT]

Needs torch, safetensors, scikit-learn (made with torch 2.13, scikit-learn 1.9). One thread, a few minutes; everything is seeded.

The network (arXiv 2401.09417): patches of 2x2 pixels are projected to D channels, the class token stands in the middle of the sequence, a
position embedding is added, then L times x + mixer(layer_norm(x)), a last layer_norm, and the head on the class token. The mixer is Vim's
second version: two directions with weights of their own, their sum halved before out_proj. Tensors have the names of Vim's code."""
import json
import math
import pathlib
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

# scikit-learn's pictures in the order of this permutation: the first 644 train, 256 calibrate, the last 897 test.
SEED, TRAIN, CALIBRATION = 20240117, 644, 256
CONFIG = {"model_type": "vim", "image_size": 8, "num_channels": 1, "num_classes": 10, "patch_size": 2, "hidden_size": 20, "num_layers": 4,
          "d_state": 8, "d_conv": 4, "expand": 2, "layer_norm_eps": 1e-5, "max_value": 16, "image_mean": 0.5, "image_std": 0.5}
EPOCHS, BATCH, RATE = 90, 46, 5e-3


class Mixer(nn.Module):
    def __init__(self, d, state, conv, expand):
        super().__init__()
        e, self.rank, self.state = d * expand, math.ceil(d / 16), state
        self.in_proj = nn.Linear(d, 2 * e, bias=False)
        self.out_proj = nn.Linear(e, d, bias=False)
        for s in ("", "_b"):
            setattr(self, "conv1d" + s, nn.Conv1d(e, e, conv, groups=e, padding=conv - 1))
            setattr(self, "x_proj" + s, nn.Linear(e, self.rank + 2 * state, bias=False))
            dt = nn.Linear(self.rank, e)
            nn.init.uniform_(dt.weight, -self.rank ** -0.5, self.rank ** -0.5)
            t = torch.exp(torch.rand(e) * (math.log(0.1) - math.log(0.001)) + math.log(0.001)).clamp(min=1e-4)
            dt.bias.data.copy_(t + torch.log(-torch.expm1(-t)))  # softplus^-1(t)
            setattr(self, "dt_proj" + s, dt)
            setattr(self, "A" + s + "_log", nn.Parameter(torch.log(torch.arange(1.0, state + 1)).repeat(e, 1)))
            setattr(self, "D" + s, nn.Parameter(torch.ones(e)))

    def operands(self, x, s):  # of one direction: x after its convolution, delta, B, C
        x = F.silu(getattr(self, "conv1d" + s)(x.transpose(1, 2))[..., :x.shape[1]]).transpose(1, 2)
        dt, b, c = getattr(self, "x_proj" + s)(x).split([self.rank, self.state, self.state], -1)
        return x, F.softplus(getattr(self, "dt_proj" + s)(dt)), b, c

    def forward(self, u):
        x, z = self.in_proj(u).chunk(2, -1)
        pairs = zip(self.operands(x, ""), self.operands(x.flip(1), "_b"))
        x, dt, b, c = (torch.stack(p) for p in pairs)  # [2,N,T,..]: both directions at once
        a = -torch.exp(torch.stack([self.A_log.T, self.A_b_log.T]))[:, None]  # [2,1,S,E]
        h, results = 0, []
        for dt_t, add, b_t, c_t in zip(dt.unbind(2), (dt * x).unbind(2), b.unbind(2), c.unbind(2)):  # the scan, token by token
            h = torch.exp(dt_t[..., None, :] * a) * h + add[..., None, :] * b_t[..., None]
            results.append((c_t[..., None, :] @ h)[..., 0, :])
        y = torch.stack(results, 2) + torch.stack([self.D, self.D_b])[:, None, None] * x
        return self.out_proj((y[0] + y[1].flip(1)) * F.silu(z) * 0.5)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm = nn.LayerNorm(c["hidden_size"], eps=c["layer_norm_eps"])
        self.mixer = Mixer(c["hidden_size"], c["d_state"], c["d_conv"], c["expand"])

    def forward(self, x):
        return x + self.mixer(self.norm(x))


class Vim(nn.Module):
    def __init__(self, c=CONFIG):
        super().__init__()
        d, p = c["hidden_size"], c["patch_size"]
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(c["num_channels"], d, p, p)
        self.patches = (c["image_size"] // p) ** 2
        self.cls_token = nn.Parameter(torch.randn(1, 1, d) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, self.patches + 1, d) * 0.02)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_layers"]))
        self.norm_f = nn.LayerNorm(d, eps=c["layer_norm_eps"])
        self.head = nn.Linear(d, c["num_classes"])

    def forward(self, x):  # [N,1,8,8], normalised
        x, middle = self.patch_embed.proj(x).flatten(2).transpose(1, 2), self.patches // 2
        x = torch.cat([x[:, :middle], self.cls_token.expand(len(x), -1, -1), x[:, middle:]], 1) + self.pos_embed
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm_f(x[:, middle]))


def prepare(pictures, c=CONFIG):  # u8 [N,8,8] of 0..16 -> [N,1,8,8]
    return (torch.as_tensor(pictures)[:, None].float() / c["max_value"] - c["image_mean"]) / c["image_std"]


def load_digits():
    from sklearn.datasets import load_digits
    digits = load_digits()
    order = np.random.RandomState(SEED).permutation(len(digits.target))
    pictures, labels = (digits.images[order].astype(np.uint8), digits.target[order].astype(np.uint8))
    cuts = [TRAIN, TRAIN + CALIBRATION]
    return list(zip(np.split(pictures, cuts), np.split(labels, cuts)))


def shifted(x, generator):  # each picture turned, scaled and moved a little
    n = len(x)
    r = torch.rand(n, 5, generator=generator) * 2 - 1
    angle, scale, shear = r[:, 0] * 0.2, 1 + 0.12 * r[:, 1], 0.15 * r[:, 2]
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([torch.stack([cos, shear - sin, 0.25 * r[:, 3]], 1), torch.stack([sin, cos, 0.25 * r[:, 4]], 1)], 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x + 1, grid, align_corners=False) - 1  # outside is background, -1


def top1(model, pictures, labels):
    with torch.no_grad():
        return int((model(prepare(pictures)).argmax(1).numpy() == labels).sum())


def train(model, pictures, labels, progress=print):
    generator = torch.Generator().manual_seed(SEED)
    x, y = prepare(pictures), torch.as_tensor(labels.astype(np.int64))
    steps = EPOCHS * (len(x) // BATCH)
    decayed = [p for n, p in model.named_parameters() if p.ndim > 1 and "_log" not in n]
    others = [p for n, p in model.named_parameters() if not (p.ndim > 1 and "_log" not in n)]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0}], lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min(1, (i + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * i / steps)))
    for epoch in range(EPOCHS):
        order = torch.randperm(len(x), generator=generator)
        for i in range(len(x) // BATCH):
            k = order[i * BATCH:(i + 1) * BATCH]
            loss = F.cross_entropy(model(shifted(x[k], generator)), y[k])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        if epoch % 10 == 9:
            progress(f"epoch {epoch + 1} loss {loss.item():.3f}", flush=True)


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    sets = load_digits()
    model = Vim()
    train(model, *sets[0])
    tensors = {k: v.half() for k, v in model.state_dict().items()}
    model.load_state_dict({k: v.float() for k, v in tensors.items()})
    names = ("train", "calibration", "test")
    print(", ".join(f"{n}: {top1(model.eval(), *s)} of {len(s[1])}" for n, s in zip(names, sets)))
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    for name, (pictures, labels) in list(zip(names, sets))[1:]:
        save_file({"pictures": torch.as_tensor(pictures), "labels": torch.as_tensor(labels)}, out / f"{name}.safetensors")


if __name__ == "__main__":
    main()
