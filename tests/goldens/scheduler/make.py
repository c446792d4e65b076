"""Makes the files of this folder that are not copies of shared/goldens (which are without the noise, that
tests draw themselves, and those of diffusers have half of the latents: [calls + 1, 8]): img2img.safetensors (diffusers 0.42.1, torch 2.13,
scipy) and std_default.safetensors (g++ with libstdc++).

img2img: the toy model of shared/goldens (0.6 tanh(x) + 0.2 x + 0.1 cos(t / 200), epsilon) from step FIRST of STEPS on, as
diffusers' img2img pipelines slice a scheduler's timesteps. METHOD.STEPS.FIRST.samples [calls + 1, 8], half of the latent: after add_noise and
after every call; `picture` [16]; noise is the first draw of mt19937 with seed 77, the sampler's draws follow. lms walks the
cut schedule as if it were a whole one: diffusers 0.42 takes the order of its first step from the step's number and
multiplies the only derivative there is with a fourth-order coefficient.

std_default: SEED.DRAW.N, successive draws of a new std::normal_distribution<float> on one std::default_random_engine."""
import inspect, os, subprocess, tempfile
import numpy as np, torch
from diffusers import (DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler,
                       HeunDiscreteScheduler, KDPM2DiscreteScheduler, LCMScheduler, LMSDiscreteScheduler, PNDMScheduler, TCDScheduler, UniPCMultistepScheduler)
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
CLASSES = {"euler": EulerDiscreteScheduler, "euler_a": EulerAncestralDiscreteScheduler, "heun": HeunDiscreteScheduler,
           "dpm2": KDPM2DiscreteScheduler, "ddim": DDIMScheduler, "pndm": PNDMScheduler, "dpm++2m": DPMSolverMultistepScheduler,
           "unipc": UniPCMultistepScheduler, "lms": LMSDiscreteScheduler, "lcm": LCMScheduler, "ddpm": DDPMScheduler, "tcd": TCDScheduler}
CONFIG = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "timestep_spacing": "leading",
          "steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False, "skip_prk_steps": True}


def toy(x, t):
    return 0.6 * torch.tanh(x) + 0.2 * x + 0.1 * torch.cos(torch.tensor(float(t)) / 200)


def trajectory(method, steps, strength, picture):
    cls = CLASSES[method]
    s = cls(**{k: v for k, v in CONFIG.items() if k in inspect.signature(cls.__init__).parameters})
    s.set_timesteps(steps)
    first = steps - int(steps * strength)
    timesteps = s.timesteps[first * s.order:]
    if method == "lms":
        s.timesteps, s.sigmas = timesteps, s.sigmas[first:]
    elif hasattr(s, "set_begin_index"):
        s.set_begin_index(first * s.order)
    g = torch.Generator().manual_seed(77)
    x = s.add_noise(picture, torch.randn(picture.shape, generator=g), timesteps[:1])
    out = [x]
    more = {"generator": g} if "generator" in inspect.signature(s.step).parameters else {}
    for t in timesteps:
        x = s.step(toy(s.scale_model_input(x, t), t), t, x, return_dict=False, **more)[0]
        out.append(x)
    return first, torch.stack(out)


def img2img():
    picture = torch.randn([1, 4, 2, 2], generator=torch.Generator().manual_seed(78)) * 0.8
    tensors = {"picture": picture.flatten().numpy()}
    for method in CLASSES:
        for steps, strength in ((10, 0.6), (20, 0.8), (5, 0.2)):
            first, x = trajectory(method, steps, strength, picture)
            tensors[f"{method}.{steps}.{first}.samples"] = x.reshape(len(x), -1)[:, :8].contiguous().numpy()
    save_file(tensors, f"{HERE}/img2img.safetensors")


PROGRAM = """#include <cstdio>
#include <random>
int main() {
    for (unsigned seed : {0u, 1u, 42u, 4294967295u}) {
        std::default_random_engine engine;
        engine.seed(seed);
        for (int n : {5, 64, 1}) {
            std::normal_distribution<float> normal(0.0f, 1.0f);
            for (int i = 0; i < n; i++) { float x = normal(engine); std::fwrite(&x, sizeof x, 1, stdout); }
        }
    }
}"""


def std_default():
    with tempfile.TemporaryDirectory() as folder:
        open(f"{folder}/a.cpp", "w").write(PROGRAM)
        subprocess.check_call(["g++", "-O1", f"{folder}/a.cpp", "-o", f"{folder}/a"])
        x = np.frombuffer(subprocess.check_output(f"{folder}/a"), np.float32)
    tensors, at = {}, 0
    for seed in (0, 1, 42, 4294967295):
        for draw, n in enumerate((5, 64, 1)):
            tensors[f"{seed}.{draw}.{n}"] = x[at:at + n].copy()
            at += n
    save_file(tensors, f"{HERE}/std_default.safetensors")


img2img()
std_default()
