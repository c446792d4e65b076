#!/usr/bin/env python3
"""Latents of prompts that change with the step, composed with diffusers: make.py > latents.json

Each case lists by hand what its prompt is at each step, as stable-diffusion-webui documents its syntax; every text is
encoded by the pipeline, and the parts of a step are added up as negative + sum of scale weight (part - negative). The
noise is a formula, so that a test makes the same. Needs torch and diffusers; the model is the default one, in f32.
"""
import json
import math
import os
import sys

import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler, StableDiffusionPipeline

SIZE, STEPS, SCALE = 64, 3, 5.0
MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../models/emoji-128")
# prompt, negative prompt, sampler, texts at each step (the negative one's first), weights of the parts
CASES = [
    ("a [red apple:cat face:0.5]", "", "euler",
     [["", "a red apple"], ["", "a cat face"], ["", "a cat face"]], [1]),
    ("[cat|dog] face AND a [green :1]house :-0.4", "[blue::1] thing", "ddim",
     [["blue thing", "cat face", " a house"], [" thing", "dog face", " a green house"],
      [" thing", "cat face", " a green house"]], [1, -0.4]),
    ("a [[red:green:1] apple|house] AND a dog face : .5 AND tree", "bad", "heun",
     [["bad", "a red apple", " a dog face", " tree"], ["bad", "a house", " a dog face", " tree"],
      ["bad", "a green apple", " a dog face", " tree"]], [1, 0.5, 1]),
]


def noise(count):
    return torch.tensor([math.sqrt(2) * math.sin(0.37 * i * i + 0.5) for i in range(count)], dtype=torch.float32)


def draw(pipe, sampler, texts, weights):
    kind = {"ddim": DDIMScheduler, "euler": EulerDiscreteScheduler, "heun": HeunDiscreteScheduler}[sampler]
    scheduler = kind.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(STEPS)
    side = SIZE // pipe.vae_scale_factor
    latent = noise(4 * side * side).reshape(1, 4, side, side) * scheduler.init_noise_sigma
    for call, t in enumerate(scheduler.timesteps):
        step = call // 2 if sampler == "heun" else call
        scaled = scheduler.scale_model_input(latent, t)
        answers = [pipe.unet(scaled, t, encoder_hidden_states=pipe.encode_prompt(text, "cpu", 1, False)[0]).sample
                   for text in texts[step]]
        guided = answers[0] + sum(SCALE * w * (a - answers[0]) for w, a in zip(weights, answers[1:]))
        latent = scheduler.step(guided, t, latent).prev_sample
    return latent


def main():
    torch.set_grad_enabled(False)
    pipe = StableDiffusionPipeline.from_pretrained(MODEL, torch_dtype=torch.float32)
    cases = []
    for prompt, negative, sampler, texts, weights in CASES:
        latent = draw(pipe, sampler, texts, weights)
        cases.append({"prompt": prompt, "negative": negative, "sampler": sampler, "size": SIZE, "steps": STEPS,
                      "scale": SCALE, "latent": [float(f"{x:.6g}") for x in latent.flatten().tolist()]})
    json.dump(cases, sys.stdout, indent=0)
    print()


main()
