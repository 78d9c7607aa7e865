"""The training objective against the reference: losses, gradients, and what a training forward does to buffers."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, filled_dbae, relative_l2, seeded

from dbae.checkpoints.official import official_key
from dbae.losses import BridgeLoss, bridge_loss
from dbae.model import DBAE
from dbae.noise import ReplayNoise

FACTS = json.loads((GOLDEN / "dbae/loss.json").read_text())
BOUND = 1e-4


class Step:
    """One forward and backward pass of a golden tag, on a copy of the shared model."""

    def __init__(self, tag: str) -> None:
        facts = FACTS[tag]
        config = facts["config"]
        self.shared = filled_dbae(
            f"small64_L32_{'sto' if config['sto'] else 'det'}", mode=config["mode"], end_data=config["end_data"]
        )
        self.model: DBAE = copy.deepcopy(self.shared)
        self.model.train(facts["train"])
        for module in self.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = config["dropout"]
        draws = [seeded(203, 4, config["latent"])] * config["sto"] + [seeded(202, 4, 3, 64, 64)]
        x0 = seeded(201, 4, 3, 64, 64, image=True)
        self.result: BridgeLoss = bridge_loss(self.model, x0, torch.tensor(facts["t"]), noise=ReplayNoise(draws))
        self.loss = self.result.loss.mean()
        self.loss.backward()
        self.gradients = {official_key(k): p.grad for k, p in self.model.named_parameters() if p.grad is not None}
        self.state = {official_key(k): v for k, v in self.model.state_dict().items()}


@pytest.fixture(scope="module", params=FACTS)
def tag(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def step(tag: str) -> Step:
    return Step(tag)


@pytest.fixture(scope="module")
def arrays(tag: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "dbae/loss.npz") as golden:
        return {key.removeprefix(f"{tag}."): golden[key] for key in golden.files if key.startswith(f"{tag}.")}


@pytest.fixture(scope="module")
def facts(tag: str) -> dict[str, Any]:
    return FACTS[tag]


def norm(tensor: torch.Tensor) -> float:
    return float(tensor.double().norm())


@pytest.mark.golden
def test_loss_of_every_image(step, arrays, facts):
    np.testing.assert_allclose(step.result.loss.detach(), arrays["loss"], rtol=BOUND)
    np.testing.assert_allclose(step.result.mse, arrays["xs_mse"], rtol=BOUND)
    np.testing.assert_allclose(step.result.loss.detach(), facts["loss_per_sample"], rtol=BOUND)
    np.testing.assert_allclose(step.result.mse, facts["xs_mse"], rtol=BOUND)
    assert step.loss.item() == pytest.approx(facts["loss"], rel=BOUND)


@pytest.mark.golden
def test_gradient_of_every_part(step, facts):
    parts = {
        part: norm(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
        for part, module in step.model.named_children()
    }
    assert parts == pytest.approx(facts["grad_l2_group"], rel=BOUND)


@pytest.mark.golden
def test_gradients_of_named_parameters(step, arrays, facts):
    assert {k: norm(step.gradients[k]) for k in facts["grad_l2"]} == pytest.approx(facts["grad_l2"], rel=BOUND)
    whole = {key.removeprefix("grad."): value for key, value in arrays.items() if key.startswith("grad.")}
    errors = {key: relative_l2(step.gradients[key], value) for key, value in whole.items()}
    assert len(errors) == 3
    assert max(errors.values()) < BOUND, errors


@pytest.mark.golden
def test_parameters_that_the_loss_does_not_reach(step, facts):
    parameters = {official_key(k) for k, _ in step.model.named_parameters()}
    assert parameters - step.gradients.keys() == set(facts["params_without_grad"])


@pytest.mark.golden
def test_buffers_after_the_forward_pass(step, arrays, facts):
    """One update of the batch-norm averages and one power iteration in training mode; nothing in evaluation."""
    for key in ("decoder.init.init.1.running_mean", "decoder.init.init.0.weight_u"):
        assert relative_l2(step.state[key][:: len(step.state[key]) // 128], arrays[key]) < BOUND
    for key, stats in facts["after"].items():
        value = step.state[key].double()
        assert value.numel() == stats["n"], key
        assert norm(value) == pytest.approx(stats["l2"], rel=BOUND), key
        assert float(value.abs().max()) == pytest.approx(stats["absmax"], rel=BOUND), key
        assert float(value.std(correction=0)) == pytest.approx(stats["std"], rel=BOUND), key
        assert float(value.mean()) == pytest.approx(stats["mean"], abs=BOUND * stats["std"]), key
    assert step.state["decoder.init.init.1.num_batches_tracked"] == facts["num_batches_tracked"]


@pytest.mark.golden
def test_decoder_output(step, arrays, facts):
    """`decoder_out` is a first forward in the same mode, on latents of its own."""
    decoder = copy.deepcopy(step.shared.decoder).train(facts["train"])
    with torch.no_grad():
        found = decoder(seeded(204, 4, facts["config"]["latent"]))
    assert relative_l2(found[..., ::4, ::4], arrays["decoder_out"]) < BOUND


def test_every_recorded_array_is_compared(arrays):
    compared = {"loss", "xs_mse", "decoder_out", "decoder.init.init.1.running_mean", "decoder.init.init.0.weight_u"}
    assert {key for key in arrays if not key.startswith("grad.")} == compared
