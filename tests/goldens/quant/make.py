#!/usr/bin/env python3
"""Expected values for tests/quant_*.c, from formulas in float64 (numpy) and from torch. Needs numpy, torch, safetensors.

    python make.py        writes expected.safetensors beside this file

What goes in (samples, weights, parameters) are numbers of f16, and stored so; what comes out is computed in float64.
"""
import math
import os

import numpy as np
import torch
from safetensors.numpy import save_file

rng = np.random.default_rng(20261121)
out = {}
P = 2.4


def silu(x):
    return x / (1 + np.exp(-x))


# ---- samples of activations, and errors summed over them one by one ----
N = 6000
samples = {
    "gauss": rng.normal(0, 1.7, N),
    "laplace": rng.laplace(0.1, 0.05, N),
    "outliers": rng.normal(0, 1, N) * np.where(rng.random(N) < 0.003, 40, 1),
    "silu": silu(rng.normal(0, 1.5, N)),
    "relu": np.maximum(rng.normal(0, 20, N), 0),
}
def half(x):
    return np.asarray(x).astype(np.float16).astype(np.float32)


samples = {k: half(v) for k, v in samples.items()}


def codes(kind, bits, s):
    if kind == 0:
        return 0, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return min(int(np.rint(0.2785 / s)), 2**bits - 1), 0, 2**bits - 1


def simulate(x, kind, bits, s):
    z, lo, hi = codes(kind, bits, s)
    return s * (np.clip(np.rint(x / s) + z, lo, hi) - z)


def error(x, kind, bits, s, p):
    return float(np.sum(np.abs(x - simulate(x, kind, bits, s)) ** p))


cases, best = [], []
for index, (name, x32) in enumerate(samples.items()):
    out["samples." + name] = x32
    x = x32.astype(np.float64)
    kind = int(name == "silu")
    top = np.abs(x).max()
    for bits in (8, 6, 5, 4, 3, 2):
        reach = top / (2**bits - 1 if kind else 2 ** (bits - 1) - 1)
        for ratio in (0.1, 0.35, 0.7, 1.0, 1.6):
            s = float(np.float32(reach * ratio))
            for p in (P, 2.0):
                cases.append([index, kind, bits, s, p, error(x, kind, bits, s, p), float(np.sum(x * x))])
        if bits <= 8 and bits != 3:
            grid = [(error(x, kind, bits, float(np.float32(s)), P), s) for s in np.geomspace(reach / 100, reach * 1.2, 2000)]
            best.append([index, kind, bits, *min(grid)])
out["errors"] = np.array(cases)  # sample, kind, bits, scale, power, error, energy
out["best"] = np.array(best)  # sample, kind, bits, least error, its scale

# ---- bins, by logarithm rather than bits ----
edge = np.array([0, 2.0**-20, 2.0**-21, 2.0**-126, 1e-40, 65536, 65535.99, 1e30, 1, 1.0625, 1.0624999, 1.9999999, 2, 0.9999999], np.float32)
values = np.concatenate([edge, -edge, (rng.normal(0, 1, 500) * 2.0 ** rng.integers(-22, 18, 500)).astype(np.float32)])
bins = []
for v in values.astype(np.float64):
    a = abs(v)
    if a < 2.0**-20:
        m = 0
    elif a >= 2.0**16:
        m = 577
    else:
        mantissa, exponent = math.frexp(a)  # mantissa in 0.5 .. 1
        m = 1 + 16 * (exponent - 1 + 20) + int((mantissa * 2 - 1) * 16)
    bins.append(m + 578 * int(math.copysign(1, v) < 0))
out["bins.values"] = values
out["bins.expected"] = np.array(bins, np.int32)

# ---- codes ----
x = samples["silu"][:400]
for kind in (0, 1):
    for bits in (8, 4, 2):
        s = np.float32(0.03 if bits == 8 else 0.4)
        z, lo, hi = codes(kind, bits, float(s))
        out[f"codes.{kind}.{bits}"] = np.clip(np.rint(x / s) + z, lo, hi).astype(np.int32)

# ---- the generator ----
def encode(t, d):
    k = torch.arange(d // 2, dtype=torch.float64)
    f = torch.exp(-math.log(10000) * k / (d // 2))
    return torch.cat([torch.cos(t * f), torch.sin(t * f)])


torch.manual_seed(3)
d = 16
net = torch.nn.Sequential(
    torch.nn.Linear(d, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)
).double()
with torch.no_grad():
    for parameter in net.parameters():  # as the C code sees them
        parameter.copy_((parameter * 1.6).half())
times = torch.tensor([0, 1, 17.25, 100, 250, 333.5, 499, 500, 501, 750, 900, 998, 999], dtype=torch.float64)
encodings = torch.stack([encode(t, d) for t in times])
last = net(encodings)[:, 0]
weight = torch.linspace(-1, 2, len(times), dtype=torch.float64)
(last * weight).sum().backward()
linears = [m for m in net if isinstance(m, torch.nn.Linear)]
out["tdq.times"] = times.numpy()
out["tdq.encodings"] = encodings.numpy()
out["tdq.parameters"] = torch.cat([torch.cat([m.weight.T.reshape(-1), m.bias]) for m in linears]).detach().float().numpy()
out["tdq.scales"] = torch.nn.functional.softplus(last).detach().numpy()
out["tdq.last_gradient"] = weight.float().numpy()
out["tdq.gradient"] = torch.cat([torch.cat([m.weight.grad.T.reshape(-1), m.bias.grad]) for m in linears]).float().numpy()[::3]
out["tdq.encoding320"] = torch.stack([encode(t, 320) for t in times[2:6]]).numpy()

# ---- weight scales by brute force ----
W = half(rng.standard_t(4, (12, 300)) * np.exp(rng.normal(0, 1, (12, 1))) * 0.02)
out["weights"] = W
for bits in (8, 4):
    for p in (P, 2.0):
        for group in (300, 64):
            errors = []
            for row in W.astype(np.float64):
                for at in range(0, 300, group):
                    w = row[at : at + group]
                    lo, hi = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
                    s = np.linspace(0.2, 1.1, 4001)[:, None] * np.abs(w).max() / hi
                    e = np.sum(np.abs(w - s * np.clip(np.rint(w / s), lo, hi)) ** p, axis=1)
                    errors.append(e.min())
            out[f"weights.least.{bits}.{p:g}.{group}"] = np.array(errors)

# ---- GPTQ, the textbook way: an inverse, its factor, one column after the other ----
K, O, T = 140, 9, 200
X = rng.normal(0, 1, (T, K)) @ (rng.normal(0, 0.3, (K, K)) + np.eye(K))
X[:, 5] = 0
X = np.clip(np.rint(8 * X), -127, 127).astype(np.int8)  # eighths
V = half(rng.normal(0, 0.05, (O, K)))
out["gptq.inputs"], out["gptq.weights"] = X, V
X = X / np.float32(8)


def gptq(W, X, bits, group, by_importance):
    W = W.astype(np.float64).copy()
    H = X.astype(np.float64).T @ X.astype(np.float64)
    lo, hi = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    groups = range(0, K, group)
    S = np.stack([np.abs(W[:, a : a + group]).max(axis=1) / hi for a in groups], axis=1).astype(np.float32)
    scale = np.repeat(S, group, axis=1)[:, :K].astype(np.float64)
    mean = np.mean(np.diag(H))
    dead = np.diag(H) == 0
    H[dead, dead] = 1
    W[:, dead] = 0
    order = np.argsort(-np.where(dead, 0, np.diag(H)), kind="stable") if by_importance else np.arange(K)
    H = H[order][:, order] + 0.01 * mean * np.eye(K)
    U = np.linalg.cholesky(np.linalg.inv(H)).T
    W, scale = W[:, order], scale[:, order]
    Q = np.zeros_like(W)
    for i in range(K):
        Q[:, i] = np.clip(np.rint(W[:, i] / scale[:, i]), lo, hi)
        e = (W[:, i] - Q[:, i] * scale[:, i]) / U[i, i]
        W[:, i:] -= np.outer(e, U[i, i:])
    codes = np.zeros_like(Q)
    codes[:, order] = Q
    return S, codes.astype(np.int8)


def output_error(W, X, S, Q, group):
    D = W.astype(np.float64) - Q * np.repeat(S, group, axis=1)[:, :K].astype(np.float64)
    Y = X.astype(np.float64)
    return np.sum((Y @ D.T) ** 2) / np.sum((Y @ W.astype(np.float64).T) ** 2)


for bits, group, by_importance in ((4, K, 0), (4, 32, 0), (4, 32, 1), (8, K, 1), (3, K, 0)):
    S, Q = gptq(V, X, bits, group, by_importance)
    key = f"gptq.{bits}.{group}.{by_importance}"
    out[key + ".scales"], out[key + ".codes"] = S, Q
    out[key + ".error"] = np.array([output_error(V, X, S, Q, group)])

# ---- series ----
t = np.linspace(0, 981, 50)
series = np.stack([np.exp(-t / 400), t * 0 + 3, rng.normal(0, 1, 50), 5 + t * 0.1 + rng.normal(0, 20, 50)])
out["series.t"], out["series"] = t, series
out["series.r"] = np.array([0 if np.std(s) == 0 else np.corrcoef(t, s)[0, 1] for s in series])


def small(v):
    with np.errstate(over="ignore"):
        is_half = v.dtype == np.float32 and np.array_equal(half(v), v)
    return np.ascontiguousarray(v.astype(np.float16) if is_half else v)


save_file({k: small(v) for k, v in out.items()}, os.path.join(os.path.dirname(os.path.abspath(__file__)), "expected.safetensors"))
