#!/usr/bin/env python3
"""Makes tests/goldens/default-model: pictures of the default model drawn by diffusers, which tests/pipeline.c compares with; and of
emoji-128-mamba, with torch's blocks in diffusers' UNet.

    tools/make-model-goldens.py [--mamba] [MODEL [OUT]]      --mamba: only those of MODEL-mamba, the others stay

Needs torch, diffusers, transformers, pillow (made with diffusers 0.42.1, transformers 5.23, torch 2.13, CPU, float32, one
thread). cases.json holds the arguments of sdgen for each picture; add `-o`, `--type f32`. Run again when the weights change."""
import importlib.util
import json
import pathlib
import sys

import torch
from diffusers import (DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler,
                       PNDMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline)

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINSPACE = {"timestep_spacing": "linspace"}
# name: (sampler, schedule of the command line, diffusers class, its options, parameters)
CASES = {
    "apple": ("ddim", "model", DDIMScheduler, {}, dict(prompt="a red apple, 3d", steps=20, cfg=5.0, seed=42)),
    "rocket": ("euler_a", "discrete", EulerAncestralDiscreteScheduler, LINSPACE,
               dict(prompt="rocket, noto style", negative="face", steps=12, cfg=7.0, seed=7)),
    "heart": ("dpm++2m", "karras", DPMSolverMultistepScheduler, {**LINSPACE, "use_karras_sigmas": True},
              dict(prompt="blue heart, gradient", steps=10, cfg=5.0, seed=3, width=96, height=160)),
    "cat": ("pndm", "model", PNDMScheduler, {"skip_prk_steps": True}, dict(prompt="a cat face, flat", steps=9, cfg=1.0, seed=11)),
    "green-apple": ("euler", "discrete", EulerDiscreteScheduler, LINSPACE,
                    dict(prompt="a green apple, 3d", steps=10, cfg=5.0, seed=5, init="apple", strength=0.6)),
}


MAMBA_CASES = {
    "mamba-apple": ("ddim", "model", DDIMScheduler, {}, dict(prompt="a red apple, 3d", steps=8, cfg=2.5, seed=42)),
}


def mix(unet, folder):
    """Puts the blocks of `folder` in place of the UNet's self-attention."""
    from diffusers.models.attention import BasicTransformerBlock
    from safetensors.torch import load_file
    spec = importlib.util.spec_from_file_location("networks", ROOT / "tests/goldens/networks/make.py")
    networks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(networks)
    config, weights = json.loads((folder / "config.json").read_text()), load_file(folder / "mamba_blocks.safetensors")
    for name, block in [(n, b) for n, b in unet.named_modules() if isinstance(b, BasicTransformerBlock)]:
        del block.attn1
        block.mamba = networks.Mamba(block.norm1.normalized_shape[0], config["mamba_d_state"], config["mamba_d_conv"], config["mamba_expand"])
        block.mamba.load_state_dict({k.removeprefix(name + ".mamba."): v.float() for k, v in weights.items() if k.startswith(name + ".mamba.")})
        block.forward = networks.mixed_forward.__get__(block)
    return unet


def pipeline(model, cls, scheduler, options, mamba):
    pipe = cls.from_pretrained(model, torch_dtype=torch.float32, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config, **options)
    if mamba:
        mix(pipe.unet, mamba)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(model, out, scheduler, options, p, mamba=None):
    from PIL import Image
    generator = torch.Generator().manual_seed(p["seed"])
    common = dict(prompt=p["prompt"], negative_prompt=p.get("negative", "") or None, num_inference_steps=p["steps"],
                  guidance_scale=p["cfg"], generator=generator)
    if "init" in p:
        init = Image.open(out / (p["init"] + ".png")).convert("RGB")
        return pipeline(model, StableDiffusionImg2ImgPipeline, scheduler, options, mamba)(image=init, strength=p["strength"], **common).images[0]
    return pipeline(model, StableDiffusionPipeline, scheduler, options, mamba)(width=p.get("width", 128), height=p.get("height", 128), **common).images[0]


def arguments(sampler, schedule, p):
    args = ["-p", p["prompt"], "--steps", str(p["steps"]), "--cfg-scale", str(p["cfg"]), "-s", str(p["seed"]), "--rng", "cpu",
            "--sampling-method", sampler, "--scheduler", schedule]
    if "negative" in p:
        args += ["-n", p["negative"]]
    if "init" in p:
        args += ["-i", p["init"] + ".png", "--strength", str(p["strength"])]
    elif "width" in p:
        args += ["-W", str(p["width"]), "-H", str(p["height"])]
    return args


def main():
    only_mamba, given = "--mamba" in sys.argv[1:], [x for x in sys.argv[1:] if x != "--mamba"]
    model = pathlib.Path(given[0] if given else ROOT / "models/emoji-128")
    out = pathlib.Path(given[1] if len(given) > 1 else ROOT / "tests/goldens/default-model")
    mamba = model.parent / (model.name + "-mamba") / "unet"
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    cases = []
    if only_mamba:
        cases = [c for c in json.loads((out / "cases.json").read_text()) if "model" not in c]
    for name, (sampler, schedule, scheduler, options, p) in ({} if only_mamba else CASES).items():
        draw(model, out, scheduler, options, p).save(out / f"{name}.png")
        cases.append({"name": name, "args": arguments(sampler, schedule, p)})
        print(name, flush=True)
    for name, (sampler, schedule, scheduler, options, p) in (MAMBA_CASES if (mamba / "mamba_blocks.safetensors").exists() else {}).items():
        draw(model, out, scheduler, options, p, mamba).save(out / f"{name}.png")
        cases.append({"name": name, "model": mamba.parent.name, "args": arguments(sampler, schedule, p)})
        print(name, flush=True)
    (out / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
