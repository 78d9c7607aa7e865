"""DiTi: partition, objectives and own sampler against the reference; training and files."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, seeded
from pdae_models import filled_pdae, official_key, small_config, tiny_config, tiny_ddim
from small_model import Pixels
from training_runs import CONFIG

from baselines.interface import RepresentationModel
from baselines.methods.pdae import diti
from baselines.methods.pdae.diti import DiTi, DiTiConfig, Partition, partition_loss
from dbae.checkpoints import own as checkpoint
from dbae.data import TrainingStream
from dbae.noise import PerImageNoise
from dbae.support.errors import UserError
from dbae.training.loop import fit

GOLD = np.load(GOLDEN / "pdae/diti.npz")


@functools.cache
def filled(objective: str = "base") -> DiTi:
    """Config A of golden/pdae with 8 even blocks over 32 places."""
    base = filled_pdae(small_config())
    fields = {field.name: getattr(base.config, field.name) for field in dataclasses.fields(base.config)}
    model = DiTi(DiTiConfig(**fields, partition=Partition(8, (), ()), objective=objective))
    model.load_state_dict(base.state_dict())
    return model.eval()


@pytest.mark.golden
def test_partitions():
    assert Partition().ends(512) == GOLD["mask_end_dim_unequal"].tolist()
    assert Partition(64, (), ()).ends(512) == GOLD["mask_end_dim_balanced"].tolist()


@pytest.mark.golden
def test_blocks_of_times():
    config = dataclasses.replace(filled().config, partition=Partition(64, (), ()), latent_dim=64)
    assert DiTi(config).mask(torch.arange(1000)).sum(1).sub(1).tolist() == GOLD["t_to_idx"].tolist()


def test_masks_grow_and_end_at_all_of_z():
    t = torch.tensor([0, 124, 125, 999])
    assert filled().mask(t).sum(1).tolist() == [4, 4, 8, 32]
    assert filled().mask(t, before=1).sum(1).tolist() == [0, 0, 4, 28]


@pytest.mark.parametrize(
    "fields",
    [
        {"stages": (50, 900)},
        {"dims": (512,)},
        {"stages": (5, 6, 300, 500, 1000)},
        {"stages": (300, 100, 50, 500, 1000)},
        {"dims": (10, 25, 327, 100, 51)},
    ],
)
def test_partitions_that_share_out_something_else_are_refused(fields):
    with pytest.raises(UserError, match="partition of z"):
        dataclasses.replace(diti.ffhq128(), partition=Partition(**fields))


@pytest.mark.golden
@pytest.mark.parametrize("objective", ["base", "stop_grad", "dual"])
def test_objectives_and_their_gradients(objective):
    z = seeded(53, 4, 32).requires_grad_()
    x0, t = seeded(51, 4, 3, 16, 16).clamp(-1, 1), torch.tensor([0, 130, 640, 999])
    found = partition_loss(filled(objective), x0, t, z, seeded(52, 4, 3, 16, 16)).loss.mean()
    found.backward()
    assert float(found.detach()) == pytest.approx(float(GOLD[f"loss/{objective}"]), rel=1e-5)
    np.testing.assert_allclose(z.grad, GOLD[f"loss/{objective}_zgrad"], rtol=1e-4, atol=1e-7)


@pytest.mark.golden
@pytest.mark.parametrize("steps", [5, 10])
def test_the_own_sampler(steps):
    model, x_T, z = filled(), seeded(54, 1, 3, 16, 16), seeded(55, 1, 32)
    found = {
        "": model.decode_guided(z, steps=steps, x_T=x_T, masked=False),
        "_masked": model.decode_guided(z, steps=steps, x_T=x_T),
        "_stop0.3": model.decode_guided(z, steps=steps, x_T=x_T, masked=False, stop=0.3),
    }
    for key, sampled in found.items():
        assert sampled.nfe == steps
        np.testing.assert_allclose(sampled.raw, GOLD[f"guided_ddim{steps}{key}"], atol=2e-4, err_msg=key)
    x = seeded(51, 4, 3, 16, 16)[:1].clamp(-1, 1)
    forward, nfe = model.infer_guided(x, z, steps=steps, masked=False)
    assert nfe == steps
    np.testing.assert_allclose(forward, GOLD[f"guided_ddim{steps}_forward"], atol=2e-4)


def test_sampling_without_z_and_with_too_many_steps():
    model, x_T, z = filled(), seeded(54, 1, 3, 16, 16), seeded(55, 1, 32)
    never = model.decode_guided(z, steps=5, x_T=x_T, stop=1.0)
    zeros = model.decode_guided(torch.zeros_like(z), steps=5, x_T=x_T)
    assert torch.equal(never.raw, zeros.raw)
    assert model.decode_guided(z, steps=3, noise=PerImageNoise(0, [1])).nfe == 4
    with pytest.raises(UserError, match="1 to 1000"):
        model.decode_guided(z, steps=1001, x_T=x_T)


def test_it_is_a_representation_model_and_reads_official_files():
    model = filled()
    assert isinstance(model, RepresentationModel)
    parts: dict[str, dict[str, torch.Tensor]] = {"encoder": {}, "decoder": {}}
    config = dataclasses.replace(diti.celeba64(), latent_dim=16, partition=Partition(64, (), ()))
    for key, value in diti.METHOD.blank(config, "meta").state_dict().items():
        part, name = official_key(key)
        parts[part][name] = value
    assert diti.detect(parts) == config
    assert diti.from_official(parts).keys() == diti.METHOD.blank(config, "meta").state_dict().keys()
    assert diti.detect({"encoder": {}, "decoder": {}}) is None


def test_training_on_a_pretrained_model(tmp_path):
    config = DiTiConfig(
        **{field.name: getattr(tiny_config(), field.name) for field in dataclasses.fields(tiny_config())},
        partition=Partition(4, (), ()),
        objective="stop_grad",
    )
    model = DiTi.on_pretrained(tiny_ddim(), config, 0, name="tiny")
    start = {key: value.clone() for key, value in model.state_dict().items()}
    card = checkpoint.Card(method="diti", name="tiny", config=dataclasses.asdict(model.config))
    options = dataclasses.replace(CONFIG, images=32)
    stream = TrainingStream(Pixels(), np.arange(24), options.batch_size, seed=options.seed, flip=options.flip)
    last = fit(model, diti.loss, stream, options, tmp_path, card)
    moved = {key.split(".")[1] for key, value in model.state_dict().items() if not torch.equal(value, start[key])}
    assert "shift_out" in moved
    assert not moved & {"time_embed", "input_blocks", "middle_block", "output_blocks", "out"}
    again, _ = checkpoint.load_as(
        "diti",
        lambda config, name: diti.METHOD.blank(checkpoint.from_json(DiTiConfig, config), name),
        last,
        weights=None,
    )
    assert again.config == model.config
    assert again.mask(torch.tensor([999])).sum() == 4
