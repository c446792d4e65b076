#!/usr/bin/env python3
"""Gradients of whole blocks for tests/gradients.c, by torch's autograd in float64. Needs torch, safetensors.

    python make.py        writes mamba.safetensors, transformer.safetensors, quantized.safetensors beside this file

Each file has the leaves of a block as f32, and NAME.gradient of each: of the loss with respect to it. Activations are
[N,H,W,C], weights are named as in the graph that the test builds.
"""
import os

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20261128)
here = os.path.dirname(os.path.abspath(__file__))
f64 = torch.float64


class Leaves(dict):
    """Leaves of a block: random numbers that f32 holds, computed with in float64."""

    def make(self, name, *shape, scale=1.0, shift=0.0):
        self[name] = (torch.randn(*shape) * scale + shift).float().to(f64).requires_grad_()
        return self[name]

    def save(self, file, loss):
        loss.backward()
        out = {name: v.detach().float().contiguous() for name, v in self.items()}
        out |= {f"{name}.gradient": v.grad.float().contiguous() for name, v in self.items()}
        out["loss"] = loss.detach().float().reshape(1)
        save_file(out, os.path.join(here, file))
        print(file, loss.item())


def cosine_loss(x, y):
    return (1 - F.cosine_similarity(x, y, dim=-1, eps=0)).mean()


# ---- a Mamba block in both directions ----
def scan(x, delta, b, c, a_log, d):
    """x, delta [N,L,E], b, c [N,L,S]"""
    h = torch.zeros(x.shape[0], x.shape[2], a_log.shape[1], dtype=f64)
    a, out = -torch.exp(a_log), []
    for t in range(x.shape[1]):
        dt = delta[:, t, :, None]
        h = torch.exp(dt * a) * h + dt * b[:, t, None, :] * x[:, t, :, None]
        out.append((h * c[:, t, None, :]).sum(-1) + d * x[:, t])
    return torch.stack(out, 1)


def mamba():
    n, h, w, channels, inner, states, rank, kernel = 2, 2, 3, 6, 12, 3, 2, 4
    leaf = Leaves()
    x = leaf.make("x", n, h, w, channels)
    target = leaf.make("target", n, h, w, channels)
    in_proj = leaf.make("m.in_proj.weight", 2 * inner, channels, scale=0.4)
    out_proj = leaf.make("m.out_proj.weight", channels, inner, scale=0.3)
    xz = F.linear(x.reshape(n, h * w, channels), in_proj)
    u, z = xz[..., :inner], xz[..., inner:]
    total = 0
    for backward in False, True:
        end = "_b" if backward else ""
        conv = leaf.make(f"m.conv1d{end}.weight", inner, 1, kernel, scale=0.5)
        conv_bias = leaf.make(f"m.conv1d{end}.bias", inner, scale=0.2)
        x_proj = leaf.make(f"m.x_proj{end}.weight", rank + 2 * states, inner, scale=0.4)
        dt_proj = leaf.make(f"m.dt_proj{end}.weight", inner, rank, scale=0.7)
        dt_bias = leaf.make(f"m.dt_proj{end}.bias", inner, scale=0.5, shift=-1)
        a_log = leaf.make("m.A_b_log" if backward else "m.A_log", inner, states, scale=0.5, shift=0.5)
        d = leaf.make(f"m.D{end}", inner, scale=0.3, shift=1)
        v = u.flip(1) if backward else u
        v = F.silu(F.conv1d(F.pad(v.transpose(1, 2), (kernel - 1, 0)), conv, conv_bias, groups=inner).transpose(1, 2))
        dbc = F.linear(v, x_proj)
        delta = F.softplus(F.linear(dbc[..., :rank], dt_proj, dt_bias))
        y = scan(v, delta, dbc[..., rank:rank + states], dbc[..., rank + states:], a_log, d)
        total = total + (y.flip(1) if backward else y)
    y = F.linear(total * F.silu(z) * 0.5, out_proj).reshape(n, h, w, channels)
    leaf.save("mamba.safetensors", cosine_loss(y, target))


# ---- a transformer block: self-attention, attention to a context, GEGLU ----
def transformer():
    n, h, w, channels, heads, context, tokens = 2, 2, 3, 8, 2, 5, 4
    leaf = Leaves()
    x = leaf.make("x", n, h, w, channels)
    words = leaf.make("context", n, 1, tokens, context)
    target = leaf.make("target", n, h, w, channels)
    y = x.reshape(n, h * w, channels)

    def norm(name, v):
        gamma = leaf.make(f"{name}.weight", channels, scale=0.2, shift=1)
        return F.layer_norm(v, (channels,), gamma, leaf.make(f"{name}.bias", channels, scale=0.2), 1e-5)

    def attention(name, v, to):
        q = F.linear(v, leaf.make(f"{name}.to_q.weight", channels, channels, scale=0.4))
        k = F.linear(to, leaf.make(f"{name}.to_k.weight", channels, to.shape[-1], scale=0.4))
        values = F.linear(to, leaf.make(f"{name}.to_v.weight", channels, to.shape[-1], scale=0.4))
        split = [m.reshape(n, -1, heads, channels // heads).transpose(1, 2) for m in (q, k, values)]
        out = F.scaled_dot_product_attention(*split).transpose(1, 2).reshape(n, -1, channels)
        return F.linear(out, leaf.make(f"{name}.to_out.0.weight", channels, channels, scale=0.4),
                        leaf.make(f"{name}.to_out.0.bias", channels, scale=0.2))

    normed = norm("norm1", y)
    y = y + attention("attn1", normed, normed)
    y = y + attention("attn2", norm("norm2", y), words.reshape(n, tokens, context))
    wide = F.linear(norm("norm3", y), leaf.make("ff.net.0.proj.weight", 6 * channels, channels, scale=0.3),
                    leaf.make("ff.net.0.proj.bias", 6 * channels, scale=0.2))
    value, gate = wide.chunk(2, -1)
    y = y + F.linear(value * F.gelu(gate), leaf.make("ff.net.2.weight", channels, 3 * channels, scale=0.3),
                     leaf.make("ff.net.2.bias", channels, scale=0.2))
    leaf.save("transformer.safetensors", ((y.reshape(n, h, w, channels) - target) ** 2).mean())


# ---- a linear whose weight steps, activation steps and smoothing vector are learned ----
def round_through(v):
    return v + (v.round() - v).detach()


def fake_quantize(v, scale, zero, lowest, highest):
    """Rounding straight through after the clip, as PTQ4VM and LSQ have it; the zero point is a whole number."""
    return (round_through(torch.clamp(v / scale + zero, lowest, highest)) - zero) * scale


def quantized():
    n, tokens, inputs, outputs = 3, 4, 6, 5
    leaf = Leaves()
    x = leaf.make("x", n, 1, tokens, inputs)
    weight = leaf.make("weight", outputs, inputs, scale=0.5)
    bias = leaf.make("bias", outputs)
    sigma = leaf.make("sigma", 1, 1, 1, inputs, scale=0.1, shift=1)
    target = leaf.make("target", n, 1, tokens, outputs)
    zeros = torch.tensor([3.0, 6, 2, 5], dtype=f64)
    steps = leaf.make("steps", 1, 1, tokens, 2, scale=0.03, shift=0.3)
    weight_steps = leaf.make("weight.steps", 1, 1, outputs, 2, scale=0.02, shift=0.1)
    with torch.no_grad():
        steps[..., 1] = zeros
        weight_steps[..., 1] = 0
    xq = fake_quantize(x / sigma, steps[0, 0, :, :1], zeros[:, None], 0, 7)
    wq = fake_quantize(weight * sigma[0, 0], weight_steps[0, 0, :, :1], 0, -7, 7)
    leaf.save("quantized.safetensors", cosine_loss(F.linear(xq, wq, bias), target))


mamba()
transformer()
quantized()
