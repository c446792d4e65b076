#!/usr/bin/env python3
"""Makes tests/goldens/default-model: pictures of the default model drawn by diffusers, which tests/pipeline.c compares with.

    tools/make-model-goldens.py [MODEL] [OUT]

Needs torch, diffusers, transformers, pillow (made with diffusers 0.42.1, transformers 5.23, torch 2.13, CPU, float32, one
thread). cases.json holds the arguments of sdgen for each picture; add `-o`, `--type f32`. Run again when the weights change."""
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


def pipeline(model, cls, scheduler, options):
    pipe = cls.from_pretrained(model, torch_dtype=torch.float32, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(model, out, case, scheduler, options, p):
    from PIL import Image
    generator = torch.Generator().manual_seed(p["seed"])
    common = dict(prompt=p["prompt"], negative_prompt=p.get("negative", "") or None, num_inference_steps=p["steps"],
                  guidance_scale=p["cfg"], generator=generator)
    if "init" in p:
        init = Image.open(out / (p["init"] + ".png")).convert("RGB")
        return pipeline(model, StableDiffusionImg2ImgPipeline, scheduler, options)(image=init, strength=p["strength"], **common).images[0]
    return pipeline(model, StableDiffusionPipeline, scheduler, options)(width=p.get("width", 128), height=p.get("height", 128), **common).images[0]


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
    model = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "models/emoji-128")
    out = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / "tests/goldens/default-model")
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    cases = []
    for name, (sampler, schedule, scheduler, options, p) in CASES.items():
        draw(model, out, name, scheduler, options, p).save(out / f"{name}.png")
        cases.append({"name": name, "args": arguments(sampler, schedule, p)})
        print(name, flush=True)
    (out / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
