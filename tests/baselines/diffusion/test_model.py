"""DiffAE and plain diffusion models against the outputs of the reference program, at small and at full size."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from diffusion_networks import filled_ddim, filled_diffae
from golden_fill import GOLDEN, seeded
from torch import Tensor

from baselines.diffusion.process import Process, even_times, noise_loss, q_sample
from baselines.diffusion.samplers import DDIMSampler, DDPMSampler, DiffusionSampler, Inversion, Predict
from baselines.methods.ddim import DDIM
from baselines.methods.diffae import DiffAE
from dbae.noise import ReplayNoise
from dbae.samplers.strides import stride_times

SMALL = np.load(GOLDEN / "diffae" / "small.npz")
FULL = np.load(GOLDEN / "diffae" / "full.npz")
SHAPE = (2, 3, 32, 32)
FORWARD, SAMPLES, REDERIVED = 2e-5, 5e-4, 3e-3  # tolerances of golden/diffae/README.md

pytestmark = pytest.mark.golden


def close(found: Tensor, expected: np.ndarray, atol: float, rtol: float = 0.0) -> None:
    torch.testing.assert_close(found.detach().double(), torch.as_tensor(expected).double(), rtol=rtol, atol=atol)


def clamped(seed: int, *shape: int) -> Tensor:
    return seeded(seed, *shape).clamp(-1, 1)


@pytest.fixture(scope="module")
def ae() -> DiffAE:
    return filled_diffae("small_autoenc")


@pytest.fixture(scope="module")
def plain() -> DDIM:
    return filled_ddim("small_ddim")


def small_inputs() -> tuple[Tensor, Tensor, Tensor]:
    """x_0, x_T, x_t."""
    return clamped(101, *SHAPE), seeded(102, *SHAPE), seeded(103, *SHAPE)


def stats(x: Tensor) -> list[float]:
    x = x.detach().double()
    return [x.mean().item(), x.std(correction=0).item(), x.norm().item()]


# --- networks ---------------------------------------------------------------------------------------------------------


def test_code(ae):
    close(ae.encode(small_inputs()[0]), SMALL["z"], FORWARD)


@pytest.mark.parametrize("t", [0, 10, 500, 999])
def test_predicted_noise(ae, plain, t):
    x_0, _, x_t = small_inputs()
    close(ae.predictor(ae.encode(x_0))(x_t, t), SMALL[f"eps_t{t}"], FORWARD)
    close(plain.predictor(None)(x_t, t), SMALL[f"ddim/eps_t{t}"], FORWARD)


def test_a_time_for_every_image(ae):
    x_0, _, x_t = small_inputs()
    close(ae.network(x_t, torch.tensor([3, 750]), ae.encode(x_0)), SMALL["eps_t_mixed_3_750"], FORWARD)


def test_every_block(ae):
    """Mean, standard deviation and norm of what each block puts out, and of the encoder's; the scales of z."""
    x_0, _, x_t = small_inputs()
    found: dict[str, list[float]] = {}
    scales: list[Tensor] = []
    handles = []
    for name, module in ae.named_modules():
        key = name.removeprefix("network.")
        if key in SMALL["block_names"]:
            handles.append(module.register_forward_hook(lambda _m, _i, out, key=key: found.update({key: stats(out)})))
        if name.endswith("latent_layers"):
            handles.append(module.register_forward_hook(lambda _m, _i, out: scales.append(out)))
    with torch.no_grad():
        z = ae.encode(x_0)
        ae.network(x_t, torch.tensor([500, 500]), z)
        close(ae.network.embed(torch.tensor([500.0])), SMALL["time_emb_t500"], FORWARD)
        h = x_0
        for block in ae.encoder.input_blocks:
            h = block(h)
        close(ae.encoder.middle_block(h), SMALL["enc_feat2d"], FORWARD)
    for handle in handles:
        handle.remove()
    assert found.keys() == set(SMALL["block_names"])
    expected = dict(zip(SMALL["block_names"], SMALL["block_stats_t500"], strict=True))
    for key, values in found.items():
        np.testing.assert_allclose(values, expected[key], rtol=2e-5, atol=2e-6, err_msg=key)
    close(torch.cat(scales, 1), SMALL["stylespace"], FORWARD)


# --- samplers ---------------------------------------------------------------------------------------------------------


def stream(name: str) -> ReplayNoise | None:
    if "_stream" not in name:
        return None
    rng = np.random.RandomState(int(name.partition("_stream")[2]))
    return ReplayNoise(rng.standard_normal(SHAPE).astype(np.float32) for _ in range(1000))


def sampler(name: str, predict: Predict) -> DiffusionSampler:
    """That of a golden name such as "ddim10_eta1_stream901"."""
    head, *options = name.split("_")
    kind = head.rstrip("0123456789")
    steps = int(head.removeprefix(kind))
    process = Process("linear", tuple(even_times(steps) if kind == "ddpm" else stride_times(steps)))
    clip = "noclip" not in options
    if kind == "reverse":
        return Inversion(predict, process, clip=clip)
    if kind == "ddpm":
        return DDPMSampler(predict, process, variance="_".join(options[:2]), noise=stream(name))
    eta = next((float(o.removeprefix("eta")) for o in options if o.startswith("eta")), 0.0)
    return DDIMSampler(predict, process, eta=eta, clip=clip, noise=stream(name))


def runs(model: str) -> list[object]:
    """Names of the golden runs of a model; the longer ones are marked slow."""
    names = [key.split("/")[1] for key in SMALL if key.startswith(model) and key.endswith("/final")]
    return [pytest.param(n, marks=pytest.mark.slow) if "20" in n or "50" in n else n for n in names]


def rounding(name: str, ae: DiffAE, x: Tensor) -> float:
    """How far a golden run, in float32, is from the same in float64: no other float32 need be closer to it.

    Ten steps of inversion without clipping amplify rounding, and processors round differently.
    """
    exact = copy.deepcopy(ae).double()
    exact.network.time_embed.register_forward_pre_hook(lambda _module, inputs: (inputs[0].double(),))
    with torch.no_grad():
        found = sampler(name, exact.predictor(exact.encode(small_inputs()[0].double()))).run(x.double()).raw
    return float((found - torch.as_tensor(SMALL[f"ae/{name}/final"])).abs().max())


def follow(name: str, predict: Predict, x: Tensor, model: str, rounded: float = 0.0) -> Tensor:
    """Runs the sampler; its states and predictions of x_0 must be the golden ones, as far as these are `rounded`."""
    run, predictions = sampler(name, predict), []
    plainly = run.predict
    run.predict = lambda x, i: predictions.append(plainly(x, i)) or predictions[-1]  # type: ignore[method-assign]
    found = run.run(x, keep_path=True)
    golden = {key.rpartition("/")[2]: SMALL[key] for key in SMALL if key.startswith(f"{model}/{name}/")}
    atol = max(1e-4 * np.abs(golden["final"]).max(), rounded) if "noclip" in name else SAMPLES
    states = found.path[1:]
    close(found.raw, golden["final"], atol)
    if "steps_sample_s4" in golden:
        close(torch.stack([s[:1, :, ::4, ::4] for s in states]), golden["steps_sample_s4"], atol)
        close(torch.stack([x0[:1, :, ::4, ::4] for x0, *_ in predictions]), golden["steps_x0_s4"], REDERIVED)
    if "steps_stats" in golden:
        np.testing.assert_allclose([stats(s) for s in states], golden["steps_stats"], rtol=1e-4, atol=atol)
    return found.raw


@pytest.mark.parametrize("name", runs("ae/"))
def test_autoencoder_samples(ae, name):
    x_0, x_T, _ = small_inputs()
    predict = ae.predictor(ae.encode(x_0).detach())
    x = x_0 if name.startswith("reverse") else x_T
    rounded = rounding(name, ae, x) if "noclip" in name else 0.0
    assert rounded <= REDERIVED
    raw = follow(name, predict, x, "ae", rounded)
    if f"ae/recon_from_{name}" in SMALL:
        back = sampler(name.replace("reverse", "ddim"), predict).run(raw)
        close(back.raw, SMALL[f"ae/recon_from_{name}"], REDERIVED)
        mse = ((back.images - x_0) / 2).square().mean((1, 2, 3))
        close(mse, SMALL[f"ae/recon_from_{name}/mse01"], 1e-4)


@pytest.mark.parametrize("name", runs("ddim/"))
def test_plain_samples(plain, name):
    x_0, x_T, _ = small_inputs()
    predict = plain.predictor(None)
    raw = follow(name, predict, x_0 if name.startswith("reverse") else x_T, "ddim")
    if f"ddim/recon_from_{name}" in SMALL:
        close(
            sampler(name.replace("reverse", "ddim"), predict).run(raw).raw, SMALL[f"ddim/recon_from_{name}"], REDERIVED
        )


# --- training ---------------------------------------------------------------------------------------------------------


def test_loss_and_gradients(ae, plain):
    x_0, eps, t = clamped(101, *SHAPE), seeded(104, *SHAPE), torch.tensor([17, 801])
    close(q_sample("linear", x_0, t, eps), SMALL["q_sample_t17_801"], 1e-6)
    found = noise_loss(lambda x, t: ae.network(x, t, ae.posterior(x_0)[0]), "linear", x_0, t, noise=ReplayNoise([eps]))
    close(found.loss, SMALL["loss/mse"], FORWARD)
    assert not found.mse.requires_grad
    ae.zero_grad()
    found.loss.mean().backward()
    norms = {theirs(name): p.grad.double().norm().item() for name, p in ae.named_parameters()}
    ae.zero_grad()
    names = SMALL["loss/grad_names"].tolist()
    assert norms.keys() == set(names)
    np.testing.assert_allclose([norms[n] for n in names], SMALL["loss/grad_norms"], rtol=1e-4, atol=1e-6)
    total = np.sqrt(np.sum(np.square(list(norms.values()))))
    assert total == pytest.approx(float(SMALL["loss/total_grad_norm"]), rel=1e-5)
    alone = noise_loss(plain.network, "linear", x_0, t, noise=ReplayNoise([eps]))
    close(alone.loss, SMALL["loss/mse_plain"], FORWARD)


def theirs(key: str) -> str:
    """Official name of one of our parameters."""
    key = key.removeprefix("network.").replace("latent_layers", "cond_emb_layers")
    return key.replace("time_embed", "time_embed.time_embed")


# --- full size --------------------------------------------------------------------------------------------------------


def every(n: int) -> Callable[[Tensor], Tensor]:
    return lambda x: x[..., ::n, ::n]


@pytest.mark.slow
def test_ffhq128_autoencoder():
    model = filled_diffae("ffhq128_autoenc")
    x_0, x_t = clamped(701, 1, 3, 128, 128), seeded(703, 1, 3, 128, 128)
    with torch.no_grad():
        z = model.encode(x_0)
        close(z, FULL["ae/z"], FORWARD)
        for t in (0, 999):
            eps = model.predictor(z)(x_t, t)
            close(every(4)(eps), FULL[f"ae/eps_t{t}_s4"], FORWARD)
            np.testing.assert_allclose(stats(eps), FULL[f"ae/eps_t{t}_stats"], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_ffhq128_reconstruction_with_inferred_endpoint():
    model = filled_diffae("ffhq128_autoenc")
    x_0 = clamped(701, 1, 3, 128, 128)
    with torch.no_grad():
        z = model.encode(x_0)
    x_T = Inversion(model.predictor(z), Process("linear", tuple(stride_times(5)))).run(x_0)
    close(every(4)(x_T.raw), FULL["ae/reverse5/final_s4"], SAMPLES)
    back = DDIMSampler(model.predictor(z), Process("linear", tuple(stride_times(5)))).run(x_T.raw)
    close(every(4)(back.raw), FULL["ae/recon5_s4"], REDERIVED)
    close(((back.images - x_0) / 2).square().mean((1, 2, 3)), FULL["ae/recon5_mse01"], 1e-4)


@pytest.mark.slow
def test_ffhq128_plain():
    model = filled_ddim("ffhq128_ddim")
    x_T, x_t = seeded(702, 1, 3, 128, 128), seeded(703, 1, 3, 128, 128)
    with torch.no_grad():
        close(every(4)(model.predictor(None)(x_t, 500)), FULL["ddim/eps_t500_s4"], FORWARD)
    found = DDIMSampler(model.predictor(None), Process("linear", tuple(stride_times(5)))).run(x_T, keep_path=True)
    close(every(4)(found.raw), FULL["ddim/ddim5/final_s4"], SAMPLES)
    close(torch.stack([every(16)(s) for s in found.path[1:]]), FULL["ddim/ddim5/steps_sample_s16"], SAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tag", "seed", "size", "step"),
    [("celeba64d2c_autoenc", "celeba64", 711, 64, 2), ("ffhq256_autoenc", "ffhq256", 721, 256, 8)],
)
def test_other_sizes(name, tag, seed, size, step):
    model = filled_diffae(name)
    with torch.no_grad():
        z = model.encode(clamped(seed, 1, 3, size, size))
        close(z, FULL[f"{tag}/z"], FORWARD)
        eps = model.predictor(z)(seeded(seed + 1, 1, 3, size, size), 500)
    close(every(step)(eps), FULL[f"{tag}/eps_t500_s{step}"], FORWARD)
    np.testing.assert_allclose(stats(eps), FULL[f"{tag}/eps_t500_stats"], rtol=1e-5, atol=1e-6)
