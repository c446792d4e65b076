"""Makes options.safetensors: diffusers' scheduler classes (0.42.1, torch 2.13, scipy) with their options off the defaults, on
the toy models of shared/goldens:

    epsilon:       f(x, t) = 0.6 tanh(x) + 0.2 x + 0.1 cos(t / 200)
    v_prediction:  f(x, t) = 0.3 x - 0.4 tanh(x) + 0.1 sin(t / 300)

CASE.config: the text of scheduler_config.json, U8. CASE.STEPS.samples [calls + 1, 4]: the first 4 of 16 elements of the first latent
and of the latent after every call; noise is drawn by mt19937 with seed 500 + STEPS, the first latent before the scheduler's own.
CASE.STEPS.timesteps [calls]."""
import inspect, json, os
import diffusers
import numpy as np, torch
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
LEAD = {**SD, "timestep_spacing": "leading", "steps_offset": 1}
LIN = {**SD, "timestep_spacing": "linspace"}
TRAIL = {**SD, "timestep_spacing": "trailing"}
COSINE = {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}
LOW = {"final_sigmas_type": "sigma_min"}
KARRAS = {"use_karras_sigmas": True}
V = {"prediction_type": "v_prediction"}

CASES = {}


def add(cls, name, base, steps=(5, 16), **more):
    CASES[f"{cls}-{name}"] = (cls, {**base, **more}, steps)


DPM = "DPMSolverMultistepScheduler"
for order in (1, 2, 3):
    add(DPM, f"order{order}", LEAD, solver_order=order)
    add(DPM, f"order{order}-v-karras", {**LIN, **V, **KARRAS}, solver_order=order)
    add(DPM, f"noise-order{order}", {**LEAD, **LOW}, solver_order=order, algorithm_type="dpmsolver")
    add(DPM, f"sde-order{order}", LEAD, solver_order=order, algorithm_type="sde-dpmsolver++")
add(DPM, "heun", LEAD, solver_type="heun")
add(DPM, "noise-heun", {**LIN, **LOW, **V}, solver_type="heun", algorithm_type="dpmsolver")
add(DPM, "sde-heun", LIN, solver_type="heun", algorithm_type="sde-dpmsolver++")
add(DPM, "sde-karras", {**LIN, **KARRAS}, algorithm_type="sde-dpmsolver++")
add(DPM, "sde-sigma_min", {**LIN, **LOW, **V}, algorithm_type="sde-dpmsolver++")
for order in (1, 2):
    add(DPM, f"sde-noise-order{order}", {**LEAD, **LOW}, solver_order=order, algorithm_type="sde-dpmsolver")
add(DPM, "sde-noise-heun", {**LEAD, **LOW}, solver_type="heun", algorithm_type="sde-dpmsolver")
add(DPM, "deis", {**LEAD, **LOW}, algorithm_type="deis", solver_type="logrho")
add(DPM, "lu", LIN, use_lu_lambdas=True)
add(DPM, "lu-cosine", {**LIN, **COSINE}, use_lu_lambdas=True, num_train_timesteps=500)
for base, name in ((LEAD, "leading"), (LIN, "linspace"), (TRAIL, "trailing")):
    add(DPM, f"cosine-{name}", {**base, **COSINE})
add(DPM, "clipped", LIN, lambda_min_clipped=-1.5)
add(DPM, "full-order", {**LIN, **LOW}, (5, 14, 16), solver_order=3, lower_order_final=False)
add(DPM, "euler-final", {**LIN, **LOW}, (5, 16), euler_at_final=True)
add(DPM, "range", {**LIN, **KARRAS}, sigma_min=0.1, sigma_max=10.0)
add(DPM, "range-exponential", {**LIN, **LOW}, use_exponential_sigmas=True, sigma_min=0.1, sigma_max=13.0)

UNIPC = "UniPCMultistepScheduler"
for order in (1, 2, 3):
    add(UNIPC, f"bh1-order{order}", {**LEAD, **LOW}, solver_order=order, solver_type="bh1")
    add(UNIPC, f"noise-order{order}", {**LIN, **LOW}, solver_order=order, predict_x0=False)
add(UNIPC, "noise-bh1", {**LEAD, **LOW, **V}, solver_order=3, solver_type="bh1", predict_x0=False)
add(UNIPC, "uncorrected", LEAD, disable_corrector=[0, 2, 7, 12])
add(UNIPC, "full-order", {**LIN, **LOW}, solver_order=3, lower_order_final=False)
add(UNIPC, "karras-sigma_min", {**LIN, **LOW, **KARRAS}, sigma_min=0.05, sigma_max=12.0)

PNDM = "PNDMScheduler"
for base, name in ((LEAD, "leading"), (LIN, "linspace"), (TRAIL, "trailing")):
    add(PNDM, f"prk-{name}", base, (4, 7, 12), skip_prk_steps=False)
add(PNDM, "prk-v", {**LEAD, **V}, (5, 16), set_alpha_to_one=True)
add(PNDM, "unknown-keys", LEAD, (5,), skip_prk_steps=True, rescale_betas_zero_snr=True, use_karras_sigmas=True)

EULER = "EulerDiscreteScheduler"
add(EULER, "log-linear", LIN, interpolation_type="log_linear")
add(EULER, "log-linear-karras", {**LEAD, **KARRAS}, interpolation_type="log_linear")
add(EULER, "continuous", {**LEAD, **V}, timestep_type="continuous")
add(EULER, "continuous-epsilon", LEAD, timestep_type="continuous")
add(EULER, "continuous-karras", {**LEAD, **V, **KARRAS}, timestep_type="continuous", sigma_min=0.002, sigma_max=120.0)
add(EULER, "range-exponential", LIN, use_exponential_sigmas=True, sigma_min=0.05)
add(EULER, "range-beta", LIN, use_beta_sigmas=True, sigma_max=10.0)
add("EulerAncestralDiscreteScheduler", "unknown-keys", LIN, (5,), use_karras_sigmas=True, final_sigmas_type="sigma_min")
add("HeunDiscreteScheduler", "unknown-keys", {**LIN, **KARRAS}, (5,), rescale_betas_zero_snr=True, sigma_max=10.0)
add("LMSDiscreteScheduler", "range", {**LIN, **KARRAS}, (5,), sigma_max=10.0)
add("LMSDiscreteScheduler", "range-exponential", LIN, (5,), use_exponential_sigmas=True, sigma_max=10.0)
add("DDPMScheduler", "fixed_large", LEAD, clip_sample=False, variance_type="fixed_large")
add("DDIMScheduler", "trained", {"num_train_timesteps": 100, "clip_sample": False}, trained_betas=[0.001 * 1.02**i for i in range(100)])

for cls in ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"):
    add(cls, "default", {})
    add(cls, "v", V, sigma_data=1.0, sigma_max=120.0, sigma_schedule="exponential")
    add(cls, "sigma_min", LOW, rho=5.0)
EDM = "EDMDPMSolverMultistepScheduler"
for order in (1, 3):
    add(EDM, f"order{order}", {}, solver_order=order)
add(EDM, "heun", {}, solver_type="heun")
add(EDM, "sde", {}, algorithm_type="sde-dpmsolver++")
add(EDM, "sde-heun", V, algorithm_type="sde-dpmsolver++", solver_type="heun")
add(EDM, "euler-final", LOW, euler_at_final=True)


def toy(x, t, kind):
    t = torch.tensor(float(t), dtype=x.dtype)
    if kind == "v_prediction":
        return 0.3 * x - 0.4 * torch.tanh(x) + 0.1 * torch.sin(t / 300)
    return 0.6 * torch.tanh(x) + 0.2 * x + 0.1 * torch.cos(t / 200)


def main():
    tensors = {}
    for name, (cls, config, steps) in CASES.items():
        text = json.dumps({"_class_name": cls, **config})
        tensors[f"{name}.config"] = np.frombuffer(text.encode(), np.uint8).copy()
        for n in steps:
            s = getattr(diffusers, cls).from_config(json.loads(text))
            s.set_timesteps(n)
            g = torch.Generator().manual_seed(500 + n)
            x = torch.randn([1, 4, 2, 2], generator=g) * s.init_noise_sigma
            out = [x]
            more = {"generator": g} if "generator" in inspect.signature(s.step).parameters else {}
            if len(s.timesteps) > 1 and s.timesteps[0] == s.timesteps[1]:
                raise SystemExit(f"{name}.{n}: diffusers starts at the second of equal timesteps")
            for t in s.timesteps:
                y = toy(s.scale_model_input(x, t), t, config.get("prediction_type", "epsilon"))
                x = s.step(y, t, x, return_dict=False, **more)[0]
                out.append(x)
            tensors[f"{name}.{n}.samples"] = torch.stack(out).reshape(len(out), -1)[:, :4].contiguous().float().numpy()
            tensors[f"{name}.{n}.timesteps"] = s.timesteps.float().numpy()
            if not np.isfinite(tensors[f"{name}.{n}.samples"]).all():
                raise SystemExit(f"{name}.{n}: not finite")
    save_file(tensors, f"{HERE}/options.safetensors")
    print(len(CASES), "cases")


main()
