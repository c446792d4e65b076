#!/usr/bin/env python3
"""Reference values for learn/: torch's AdamW with clipped gradients, and updates of a small bidirectional Mamba block whose
weight steps, activation scales and smoothing vectors are learned through rounding. Needs torch and safetensors.
    make.py [OUT]      default: expected.safetensors beside this file"""
import math, pathlib, sys
import torch, torch.nn.functional as F
from safetensors.torch import save_file

torch.set_num_threads(1)
torch.manual_seed(11)
torch.set_default_dtype(torch.float64)
out = {}

# ---- AdamW: two groups of different rates, five updates, the gradients' norm above and below the clip
p = [torch.randn(5), torch.randn(3)]
g = torch.randn(5, 8) * torch.tensor([0.2, 3, 0.01, 1, 5])[:, None]
out["adamw.start"], out["adamw.gradients"] = torch.cat(p), g
opt = torch.optim.AdamW([dict(params=[p[0]], lr=3e-2), dict(params=[p[1]], lr=7e-3)], weight_decay=0.1)
after = []
for row in g:
    p[0].grad, p[1].grad = row[:5].clone(), row[5:].clone()
    torch.nn.utils.clip_grad_norm_(p, 2.0)
    opt.step()
    after.append(torch.cat(p).clone())
out["adamw.after"] = torch.stack(after)

# ---- a block: N samples of L tokens, C channels, E inside, rank R of dt, S states, kernel K; weights and activations 4 bits
N, L, C, E, R, S, K, BITS = 4, 5, 12, 12, 2, 3, 3, 4
SITES = ["in_proj", "x_proj", "dt_proj", "x_proj_b", "dt_proj_b", "out_proj"]
shapes = dict(in_proj=(2 * E, C), x_proj=(R + 2 * S, E), dt_proj=(E, R), x_proj_b=(R + 2 * S, E), dt_proj_b=(E, R), out_proj=(C, E))
LOW, HIGH, CODES = -2 ** (BITS - 1), 2 ** (BITS - 1) - 1, 2 ** BITS - 1


def weights(gen):
    r = lambda *s, k=1.0: (torch.randn(*s, generator=gen) * k).float().double()
    w = {n + ".weight": r(*s, k=0.5 if n.startswith("dt") else 0.35) for n, s in shapes.items()}
    for s in ("", "_b"):
        w[f"conv1d{s}.weight"], w[f"conv1d{s}.bias"] = r(E, 1, K, k=0.5), r(E, k=0.2)
        w[f"dt_proj{s}.bias"], w[f"D{s}"] = r(E, k=0.5) - 1, r(E, k=0.2) + 1
        w[f"A{s}_log"] = torch.log(torch.arange(1.0, S + 1)).repeat(E, 1) + r(E, S, k=0.1)
    return {k: v.float().double() for k, v in w.items()}


def scan(x, dt, A, B, Cc, D):
    h, ys = torch.zeros(N, E, S), []
    for t in range(L):
        h = torch.exp(dt[:, t, :, None] * A) * h + (dt[:, t] * x[:, t])[..., None] * B[:, t, None]
        ys.append((h * Cc[:, t, None]).sum(-1) + D * x[:, t])
    return torch.stack(ys, 1)


def block(w, x, linear):
    u, z = linear("in_proj", x).chunk(2, -1)

    def half(v, s):
        v = F.silu(F.conv1d(F.pad(v.transpose(1, 2), (K - 1, 0)), w[f"conv1d{s}.weight"], w[f"conv1d{s}.bias"], groups=E)).transpose(1, 2)
        # the sites' tokens keep their natural numbers
        turn = (lambda a: a.flip(1)) if s else (lambda a: a)
        dt, B, Cc = linear("x_proj" + s, turn(v)).split([R, S, S], -1)
        dt = turn(F.softplus(linear("dt_proj" + s, dt) + w[f"dt_proj{s}.bias"]))
        return turn(scan(v, dt, -torch.exp(w[f"A{s}_log"]), turn(B), turn(Cc), w["D" + s]))
    return linear("out_proj", (half(u, "") + half(u.flip(1), "_b")) * F.silu(z) * 0.5)


def ste(x):
    return (x.round() - x).detach() + x


class Block:
    """margin: how far from a border between two codes anything came"""

    def __init__(s, w, x):
        s.w, s.start, s.margin, seen = w, {}, 1.0, {}

        def linear(n, v):
            seen[n] = v
            return F.linear(v, w[n + ".weight"])
        block(w, x, linear)
        for n in SITES:
            v, W = seen[n], w[n + ".weight"]
            sigma = (v.abs().amax((0, 1)).clamp(min=1e-3) / W.abs().amax(0)).sqrt()
            m = (1 / sigma).float().double()                                    # smoothing: what x is multiplied with
            v, W = v * m, W / m
            lo, hi = v.amin((0, 2)).clamp(max=0) * 0.8, v.amax((0, 2)).clamp(min=0) * 0.8
            scale = ((hi - lo) / CODES).float().double()
            zero = (-lo / scale).round().clamp(0, CODES)
            step = (W.abs().amax(1) * 0.85 / HIGH).float().double()
            s.start[n] = (step, scale, zero, m)
        # parameters: logarithms of factors of steps, scales and 1 / smoothing
        s.p = {n: [torch.zeros(len(a), requires_grad=True) for a in (s.start[n][0], s.start[n][1], s.start[n][3])] for n in SITES}

    def note(s, v, low, high):
        inside = v.detach()[(v.detach() > low - 1) & (v.detach() < high + 1)]
        s.margin = min(s.margin, float((inside - inside.floor() - 0.5).abs().min()))

    def __call__(s, x):
        def linear(n, v):
            step, scale, zero, m = s.start[n]
            w_, a_, g_ = (t.exp() for t in s.p[n])
            step, scale, sigma = step * w_, scale * a_, g_ / m
            q = s.w[n + ".weight"] * sigma / step[:, None]
            s.note(q, LOW, HIGH)
            q = ste(q.clamp(LOW, HIGH)) * step[:, None]
            y = v / sigma / scale[:, None] + zero[:, None]
            s.note(y, 0, CODES)
            y = (ste(y.clamp(0, CODES)) - zero[:, None]) * scale[:, None]
            return F.linear(y, q)
        return block(s.w, x, linear)


def cosine_loss(a, b):
    return (1 - F.cosine_similarity(a, b, dim=-1)).mean()


def relative_loss(a, b):
    return ((a - b).square().sum((1, 2)) / b.square().sum((1, 2))).mean()


def learn(seed, loss_of, updates):
    gen = torch.Generator().manual_seed(seed)
    w, x = weights(gen), torch.randn(N, L, C, generator=gen).float().double()
    b = Block(w, x)
    with torch.no_grad():
        target = block(w, x, lambda n, v: F.linear(v, w[n + ".weight"])).float().double()
        seen = x + (0.1 * torch.randn(N, L, C, generator=gen)).float().double()                  # of the quantized stream
        seen = seen.float().double()
    flat = [[b.p[n][i] for n in SITES] for i in range(3)]
    opt = torch.optim.AdamW([dict(params=q, lr=r) for q, r in zip(flat, (5e-3, 4e-3, 1e-2))], weight_decay=1e-5)
    falling = torch.optim.lr_scheduler.LambdaLR(opt, lambda u: (1 + math.cos(math.pi * u / updates)) / 2)
    vector = lambda f: torch.cat([f(t).detach().clone() for q in flat for t in q])
    with torch.no_grad():
        answer = block(w, seen, lambda n, v: F.linear(v, w[n + ".weight"]))
    r = dict(weights=w, input=seen, target=target, answer=answer, start=b.start, losses=[])
    for _ in range(updates):
        opt.zero_grad()
        loss = loss_of(b(seen), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([t for q in flat for t in q], 2.0)
        opt.step()
        falling.step()
        r["losses"].append(loss.detach())
    r["after"] = vector(lambda t: t)
    r["losses"].append(loss_of(b(seen), target).detach())
    return b.margin, r


# updates of each loss: one, and several with falling rates
LESSONS = {f"{name}.{n}": (loss, n) for name, loss in (("error", relative_loss), ("cosine", cosine_loss)) for n in (1, 3)}


def lessons(seed):
    taken = {k: learn(seed, *v) for k, v in LESSONS.items()}
    return min(m for m, _ in taken.values()), {k: r for k, (_, r) in taken.items()}


# f32 must not move a code to its neighbour: of the seeds that learn something the one that stays farthest from all borders
runs = [(*lessons(s), s) for s in range(150)]
margin, chosen, seed = max((x for x in runs if all(r["losses"][-1] < r["losses"][0] for r in x[1].values())), key=lambda x: x[0])
r = chosen["error.3"]
print(f"seed {seed}: distance to a border of codes {margin:.2e}")
for k, v in chosen.items():
    print(k, [f"{float(l):.6f}" for l in v["losses"]])
    out |= {f"block.{k}.losses": torch.stack(v["losses"]), f"block.{k}.after": v["after"]}
f32 = {f"block.{k}": v for k, v in r["weights"].items()}
f32 |= {"block.input": r["input"], "block.target": r["target"], "block.answer": r["answer"]}
for n in SITES:
    for k, v in zip(("steps", "scales", "zeros", "smoothing"), r["start"][n]):
        f32[f"block.{n}.{k}"] = v
out |= {k: v.float() for k, v in f32.items()}
save_file({k: v.contiguous() for k, v in out.items()}, sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "expected.safetensors")
