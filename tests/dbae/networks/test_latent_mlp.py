"""The latent network against DiffAE's and PDAE's own outputs, and its reading of published state dicts."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, relative_l2, seeded
from latent_networks import filled_mlp
from torch import Tensor

from dbae.networks.latent_mlp import LatentMLP, LatentMLPConfig, config_of, without_aliases
from dbae.support.errors import UserError

DBAE = np.load(GOLDEN / "dbae" / "latent_prior.npz")
DIFFAE = np.load(GOLDEN / "diffae" / "latent_net.npz")
PDAE = np.load(GOLDEN / "pdae" / "small.npz")


@pytest.mark.golden
@pytest.mark.parametrize(("latent_dim", "layers"), [(512, 10), (32, 10), (32, 15)])
def test_output_of_the_priors_of_the_paper(latent_dim: int, layers: int) -> None:
    network = filled_mlp(LatentMLPConfig(latent_dim, layers=layers), hashed="cond_layers.1")
    out = network(seeded(401, 4, latent_dim), torch.tensor([0, 10, 500, 999]))
    assert relative_l2(out, DBAE[f"mlp_L{latent_dim}_N{layers}.out"]) < 1e-5


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("mlp10", LatentMLPConfig()),
        ("mlp_small", LatentMLPConfig(latent_dim=16, hidden=48, layers=4)),
    ],
)
def test_output_of_diffae(name: str, config: LatentMLPConfig) -> None:
    network, t = filled_mlp(config, hashed="linear_emb"), torch.tensor([0, 250, 500, 999])
    out = network(seeded(301, 4, config.latent_dim), t)
    assert relative_l2(out, DIFFAE[f"{name}/out"]) < 1e-5


@pytest.mark.golden
@pytest.mark.parametrize(("norm", "key"), [(True, "mlp/out"), (False, "mlp/out_nonorm")])
def test_output_of_pdae(norm: bool, key: str) -> None:
    network = filled_mlp(LatentMLPConfig(32, 64, 4, time_dim=16, norm=norm), hashed="cond_layers.1")
    out = network(seeded(15, 3, 32), torch.tensor([0, 500, 999]))
    assert relative_l2(out, PDAE[key]) < 1e-5


def published() -> dict[str, dict[str, list[int]]]:
    """Shapes of the tensors of published files, by key."""
    diffae = json.loads((GOLDEN / "diffae" / "manifest_ffhq128_autoenc_latent.json").read_text())["latent_keys"]
    pdae = json.loads((GOLDEN / "pdae" / "manifest_latent_mlp.json").read_text())
    return {
        "diffae": {key.removeprefix("latent_net."): shape for key, shape in diffae},
        "pdae10": {key: entry["shape"] for key, entry in pdae["latent_mlp10"].items()},
        "pdae20": {key: entry["shape"] for key, entry in pdae["latent_mlp20"].items()},
    }


@pytest.mark.golden
@pytest.mark.parametrize(("name", "layers"), [("diffae", 10), ("pdae10", 10), ("pdae20", 20)])
def test_published_keys_are_ours_but_for_the_aliases(name: str, layers: int) -> None:
    state = {key: torch.empty(shape, device="meta") for key, shape in published()[name].items()}
    ours = {key: value for key, value in state.items() if "cond_layers" not in key}
    assert len(state) - len(ours) == 2 * (layers - 1)
    config = config_of(ours)
    assert config == LatentMLPConfig(layers=layers)
    with torch.device("meta"):
        network = LatentMLP(config)
    assert {k: v.shape for k, v in network.state_dict().items()} == {k: v.shape for k, v in ours.items()}
    assert sum(p.numel() for p in network.parameters()) == {10: 54_109_696, 20: 117_106_176}[layers]


def small_state() -> dict[str, Tensor]:
    """As published: with the aliases."""
    state = dict(LatentMLP(LatentMLPConfig(4, 8, 3)).state_dict())
    return state | {k.replace("linear_emb", "cond_layers.1"): v for k, v in state.items() if "linear_emb" in k}


def test_aliases_are_folded_whichever_copy_is_there() -> None:
    state = small_state()
    plain = {key for key in state if "cond_layers" not in key}
    assert without_aliases(state).keys() == plain
    only_alias = without_aliases({key: value for key, value in state.items() if "linear_emb" not in key})
    assert only_alias.keys() == plain
    assert torch.equal(only_alias["layers.1.linear_emb.weight"], state["layers.1.linear_emb.weight"])


def test_aliases_that_differ_are_refused() -> None:
    state = small_state()
    state["layers.1.cond_layers.1.bias"] = state["layers.1.cond_layers.1.bias"] + 1
    with pytest.raises(UserError, match=r"layers\.1\.linear_emb\.bias"):
        without_aliases(state)


def test_a_state_dict_of_something_else_has_no_configuration() -> None:
    with pytest.raises(UserError, match=r"layers\.0\.linear\.weight"):
        config_of({"weight": torch.zeros(3)})


def test_time_matters_and_rows_are_independent() -> None:
    network, z = LatentMLP(LatentMLPConfig(4, 8, 3)), seeded(1, 3, 4)
    early, late = (network(z, torch.full((3,), t)) for t in (0, 900))
    assert (early - late).abs().max() > 1e-3
    torch.testing.assert_close(network(z[1:2], torch.tensor([900])), late[1:2])


@pytest.mark.parametrize("field", ["latent_dim", "hidden", "layers", "time_dim"])
def test_sizes_are_checked(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        LatentMLPConfig(**{field: 0})
