#!/usr/bin/env python3
"""Small models with random weights, and what diffusers, transformers and torch answer with them, for tests/networks.c and tests/mamba.c.

    python make.py        writes pipelines/, modules/ and mamba/ beside this file

    sd2-small     as Stable Diffusion 2.x: linear projections, heads that differ between levels, GELU in the text encoder, v-prediction
    taesd-small   convolutions as projections, quick GELU, AutoencoderTiny
    mamba-small   sd2-small with Mamba blocks in place of self-attention; holds what differs from it
    mamba/        one block in its variants; a picture of mamba-small

Weights and inputs are numbers of f16 and stored so; everything is computed in float64 from them (the embedding of the timestep in f32, as
diffusers does) and stored as f32. Needs torch, diffusers, transformers, safetensors, pillow."""
import json, math, os, shutil
os.environ["TRANSFORMERS_VERBOSITY"] = os.environ["DIFFUSERS_VERBOSITY"] = "error"
import torch
import torch.nn.functional as F
from torch import nn
import diffusers
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_grad_enabled(False)
CLIPTextModel.text_model = property(lambda self: self)  # transformers 5 has no such level, diffusers asks for it

LEVELS = dict(
    down_block_types=["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    layers_per_block=1, norm_num_groups=4, sample_size=8)
TWO_LEVELS = dict(
    down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"], up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
    layers_per_block=1, norm_num_groups=4, sample_size=8)
MODELS = {
    "sd2-small": dict(
        seed=1,
        text=dict(vocab_size=120, hidden_size=20, intermediate_size=60, num_hidden_layers=3, num_attention_heads=5, hidden_act="gelu"),
        unet=dict(block_out_channels=[8, 8, 12, 12], attention_head_dim=[2, 4, 3, 6], cross_attention_dim=20, use_linear_projection=True,
                  upcast_attention=True, **LEVELS),
        vae=dict(block_out_channels=[4, 4, 8, 8], layers_per_block=1, norm_num_groups=4, sample_size=64, latent_channels=4,
                 down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4),
        scheduler=dict(_class_name="DDIMScheduler", prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False)),
    "taesd-small": dict(
        seed=2,
        text=dict(vocab_size=100, hidden_size=8, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, hidden_act="quick_gelu"),
        unet=dict(block_out_channels=[4, 8], attention_head_dim=4, cross_attention_dim=8, **TWO_LEVELS),
        tiny=dict(encoder_block_out_channels=[4] * 4, decoder_block_out_channels=[4] * 4),
        scheduler=dict(_class_name="PNDMScheduler", prediction_type="epsilon", skip_prk_steps=True, set_alpha_to_one=False)),
}
SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, steps_offset=1,
                timestep_spacing="leading", trained_betas=None, _diffusers_version=diffusers.__version__)
TOKENIZER = {"model": {"type": "BPE", "vocab": {"!": 0, "a</w>": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}, "merges": []}}
START, END = 2, 3
MAMBA = dict(self_mixer="mamba", mamba_d_state=5, mamba_d_conv=3, mamba_expand=2)


def generator(seed):
    return torch.Generator("cpu").manual_seed(seed)


def half(x):
    return x.half().double()


def fill(module, seed, gains=()):
    """Numbers of f16 that keep activations near unit size: products by their inputs, norms near 1 and 0."""
    g = generator(seed)
    for name, p in sorted(module.named_parameters()):
        n = torch.randn(p.shape, generator=g, dtype=torch.float64)
        if "embedding" in name and p.ndim == 2 and "time_embedding" not in name:
            n *= 0.7
        elif p.ndim > 1:
            n *= next((v for k, v in gains if k in name), 1) / math.sqrt(p[0].numel())
        elif name.endswith("weight"):
            n = 1 + 0.2 * n
        else:
            n *= 0.1
        p.data = half(n)
    return module.double().eval()


def write_json(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def write_weights(path, tensors):
    """f16; what it does not hold exactly would be a mistake"""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    small = {k: v.half().contiguous() for k, v in tensors.items() if v.is_floating_point()}
    assert all(torch.equal(small[k].double(), tensors[k].double()) for k in small)
    save_file(small, path, {"format": "pt"})


def write_values(path, tensors):
    """f32; what f16 holds exactly (weights, inputs) in f16"""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    assert all(torch.isfinite(v.double()).all() for v in tensors.values())
    small = lambda v: v.half() if torch.equal(v.half().double(), v.double()) else v.float()
    save_file({k: (small(v) if v.is_floating_point() else v).contiguous() for k, v in tensors.items()}, path)


# ---- building ----

def build(name, spec):
    folder, seed = f"{HERE}/pipelines/{name}", spec["seed"]
    m = {"folder": folder}
    c = CLIPTextConfig(max_position_embeddings=77, bos_token_id=START, pad_token_id=0, eos_token_id=2, **spec["text"])
    m["text"] = fill(CLIPTextModel(c), seed * 10, [("q_proj", 1.5), ("k_proj", 1.5)])
    m["unet"] = fill(UNet2DConditionModel(**spec["unet"]), seed * 10 + 1, [("to_q", 1.3), ("to_k", 1.3), ("time_emb_proj", 1.4)])
    if "tiny" in spec:
        m["vae"] = fill(AutoencoderTiny(**spec["tiny"]), seed * 10 + 2)
        last = m["vae"].decoder.layers[-1]  # no norms inside: bring the pixels to a sane range
        y = m["vae"].decode(3 * torch.randn((1, 4, 16, 16), generator=generator(seed), dtype=torch.float64)).sample
        last.weight.data = half(last.weight.data / (y.std() / 0.35))
    else:
        m["vae"] = fill(AutoencoderKL(**spec["vae"]), seed * 10 + 2, [("conv_out", 0.6), ("to_", 1.5)])

    shutil.rmtree(folder, ignore_errors=True)
    m["unet"].save_config(f"{folder}/unet")
    m["vae"].save_config(f"{folder}/vae")
    write_json(f"{folder}/text_encoder/config.json", {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", **spec["text"],
                                                      "max_position_embeddings": 77, "eos_token_id": 2, "layer_norm_eps": c.layer_norm_eps})
    write_weights(f"{folder}/unet/diffusion_pytorch_model.safetensors", m["unet"].state_dict())
    write_weights(f"{folder}/vae/diffusion_pytorch_model.safetensors", m["vae"].state_dict())
    write_weights(f"{folder}/text_encoder/model.safetensors",
                  {"text_model." + k.removeprefix("text_model."): v for k, v in m["text"].state_dict().items()})
    write_json(f"{folder}/scheduler/scheduler_config.json", {**spec["scheduler"], **SCHEDULE})
    write_json(f"{folder}/tokenizer/tokenizer.json", TOKENIZER)
    write_json(f"{folder}/model_index.json", {
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": diffusers.__version__,
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", type(m["vae"]).__name__],
        "scheduler": ["diffusers", spec["scheduler"]["_class_name"]],
        "safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False})
    return m


# ---- Mamba ----

class Mamba(nn.Module):
    """The equations of Mamba-1 (arXiv 2312.00752) and Vision Mamba's two directions (arXiv 2401.09417), token by token."""

    def __init__(self, channels, states, kernel, expand, biases=False):
        super().__init__()
        inner, self.rank, self.states = expand * channels, math.ceil(channels / 16), states
        self.in_proj = nn.Linear(channels, 2 * inner, bias=biases)
        self.out_proj = nn.Linear(inner, channels, bias=biases)
        for b in ("", "_b"):
            setattr(self, "conv1d" + b, nn.Conv1d(inner, inner, kernel, groups=inner))
            setattr(self, "x_proj" + b, nn.Linear(inner, self.rank + 2 * states, bias=False))
            setattr(self, "dt_proj" + b, nn.Linear(self.rank, inner))
            setattr(self, f"A{b}_log", nn.Parameter(torch.zeros(inner, states)))
            setattr(self, f"D{b}", nn.Parameter(torch.zeros(inner)))

    def direction(self, x, b):
        get = lambda name: getattr(self, name + b)
        conv, n = get("conv1d"), self.states
        x = F.pad(x.transpose(1, 2), (conv.kernel_size[0] - 1, 0))
        x = F.silu(conv(x)).transpose(1, 2)
        dt, B, C = get("x_proj")(x).split([self.rank, n, n], -1)
        delta, A = F.softplus(get("dt_proj")(dt)), -torch.exp(getattr(self, f"A{b}_log"))
        h, out = torch.zeros(x.shape[0], x.shape[2], n, dtype=x.dtype), []
        for t in range(x.shape[1]):
            d = delta[:, t, :, None]
            h = torch.exp(d * A) * h + d * B[:, t, None, :] * x[:, t, :, None]
            out.append((h * C[:, t, None, :]).sum(-1) + get("D") * x[:, t])
        return torch.stack(out, 1)

    def forward(self, u, bidirectional=True, halve=True):
        x, z = self.in_proj(u).chunk(2, -1)
        y = self.direction(x, "")
        if bidirectional:
            y = (y + self.direction(x.flip(1), "_b").flip(1)) * (0.5 if halve else 1)
        return self.out_proj(y * F.silu(z))


def fill_mamba(module, seed):
    fill(module, seed, [("dt_proj", 2)])
    for b in ("", "_b"):
        a = getattr(module, f"A{b}_log")
        a.data = half(torch.log(torch.arange(1, a.shape[1] + 1, dtype=torch.float64)).repeat(a.shape[0], 1) + 2 * a.data)
        getattr(module, f"D{b}").data += 0.5
        getattr(module, f"D{b}").data = half(getattr(module, f"D{b}").data)
    return module


def mixed_forward(self, x, attention_mask=None, encoder_hidden_states=None, **_):
    x = self.mamba(self.norm1(x)) + x
    x = self.attn2(self.norm2(x), encoder_hidden_states=encoder_hidden_states) + x
    return self.ff(self.norm3(x)) + x


def build_mamba(base):
    """Changes the base's UNet in memory; on disk are the blocks and the configuration."""
    folder, blocks = f"{HERE}/pipelines/mamba-small", {}
    shutil.rmtree(folder, ignore_errors=True)
    for i, (name, block) in enumerate((n, b) for n, b in base["unet"].named_modules() if isinstance(b, BasicTransformerBlock)):
        del block.attn1
        block.mamba = fill_mamba(Mamba(block.norm1.normalized_shape[0], MAMBA["mamba_d_state"], MAMBA["mamba_d_conv"],
                                       MAMBA["mamba_expand"]).double(), 100 + i)
        block.forward = mixed_forward.__get__(block)
        blocks |= {f"{name}.mamba.{k}": v for k, v in block.mamba.state_dict().items()}
    write_weights(f"{folder}/unet/blocks.safetensors", blocks)
    config = json.load(open(f"{base['folder']}/unet/config.json"))
    # The fingerprint is the project's own (formats/fingerprint.c): what sdgen says it is when this one is wrong.
    write_json(f"{folder}/unet/config.json", {**config, **MAMBA, "_sdgen": {"base_path": "../sd2-small", "base": BASE}})


BASE = "1d3cee8839ec6e11"


def one_block():
    """Variants of one block: each direction alone is in the first two, biases where Vision Mamba can have them in the last."""
    m = fill_mamba(Mamba(20, 3, 4, 2, biases=True).double(), 7)
    u = half(torch.randn((2, 11, 20), generator=generator(8)))
    out = {"input": u, "output.biases": m(u)}
    weights = m.state_dict()
    m.in_proj.bias = m.out_proj.bias = None
    out |= {"output.mamba1": m(u, bidirectional=False), "output.bidirectional": m(u, halve=False), "output.bidirectional_divided": m(u)}
    write_values(f"{HERE}/mamba/block.safetensors", {**weights, **out})


def picture(m):
    """diffusers' own pipeline, prompt "a" against "", tokenizer of four tokens."""
    size, steps = (40, 24), 3
    ids = lambda *words: torch.tensor([[START, *words] + [END] * (76 - len(words))])
    text = [m["text"](i).last_hidden_state for i in (ids(1), ids())]
    scheduler = DDIMScheduler.from_pretrained(f"{HERE}/pipelines/sd2-small/scheduler")
    pipe = StableDiffusionPipeline(m["vae"], m["text"], None, m["unet"], scheduler, None, None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    latents = half(torch.randn((1, 4, size[1] // 8, size[0] // 8), generator=generator(5)))
    image = pipe(prompt_embeds=text[0], negative_prompt_embeds=text[1], latents=latents.clone(), width=size[0], height=size[1],
                 num_inference_steps=steps, guidance_scale=4.0, output_type="pt").images
    # eight bits are made of it by the reader
    write_values(f"{HERE}/mamba/picture.safetensors", {"noise": latents, "image": image.permute(0, 2, 3, 1)})


# ---- what the networks answer ----

def text_values(m, vocab):
    g, out = generator(50), {}
    for i, words in enumerate((8, 0, 75)):
        row = [START, *torch.randint(4, vocab - 1, (words,), generator=g).tolist(), vocab - 1]
        ids = torch.tensor([row + [0 if i % 2 else vocab - 1] * (77 - len(row))])
        o = m["text"](ids, output_hidden_states=True)
        out |= {f"{i}.ids": ids.int(), f"{i}.last_hidden_state": o.last_hidden_state, f"{i}.penultimate": o.hidden_states[-2]}
    return out


def unet_values(m):
    g, out = generator(51), {}
    for i, (h, w, t) in enumerate(((8, 8, 1), (8, 12, 481), (16, 8, 999))):
        x = half(torch.randn((2, 4, h, w), generator=g))
        context = half(torch.randn((2, 77, m["unet"].config.cross_attention_dim), generator=g))
        out |= {f"{i}.sample": x, f"{i}.context": context, f"{i}.timestep": torch.tensor([float(t)]),
                f"{i}.output": m["unet"](x, t, context).sample}
    return out


def vae_values(m):
    g, out = generator(52), {}
    for i, (h, w) in enumerate(((4, 4), (3, 5))):
        z = half(torch.randn((1, 4, h, w), generator=g))
        x = half(torch.randn((1, 3, 8 * h, 8 * w), generator=g).clamp(-1, 1))
        e = m["vae"].encode(x)
        out |= {f"{i}.latent": z, f"{i}.decoded": m["vae"].decode(z).sample, f"{i}.image": x}
        out |= ({f"{i}.mean": e.latent_dist.mean, f"{i}.logvar": e.latent_dist.logvar} if hasattr(e, "latent_dist")
                else {f"{i}.encoded": e.latents})
    return out


def main():
    shutil.rmtree(f"{HERE}/modules", ignore_errors=True)
    built = {}
    for name, spec in MODELS.items():
        m = built[name] = build(name, spec)
        write_values(f"{HERE}/modules/{name}/text_encoder.safetensors", text_values(m, spec["text"]["vocab_size"]))
        write_values(f"{HERE}/modules/{name}/unet.safetensors", unet_values(m))
        write_values(f"{HERE}/modules/{name}/vae.safetensors", vae_values(m))
    one_block()
    m = built["sd2-small"]
    build_mamba(m)
    write_values(f"{HERE}/modules/mamba-small/unet.safetensors", unet_values(m))
    picture(m)


if __name__ == "__main__":
    main()
