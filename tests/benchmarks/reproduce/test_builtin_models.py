"""The models that come with the package give what their cards say, and PDAE's frozen network is the DDIM beside it."""

from __future__ import annotations

import pytest
import torch

from baselines.load import BUILTIN, load
from baselines.methods.pdae.networks import FROZEN
from benchmarks.reproduce import pack
from dbae.checkpoints import own

FEW, MANY = "faces:?n=1000", "faces:?n=20000"
EXPECTED = {name: own.read(path)[0].expected for name, path in BUILTIN.items()}
PACKED = [name for name, values in EXPECTED.items() if any(key.startswith(f"{FEW}, ") for key in values)]


@pytest.mark.parametrize("name", PACKED[:2])
def test_one_gives_what_its_card_says(name, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "results_of_builtin_models"  # controls of one serve the next
    found = pack.expected(name, FEW, folder, protocols=("standard",))
    assert f"{FEW}, standard, test, AP" in found or load(name).model.encode_nfe
    assert found == pytest.approx({key: EXPECTED[name][key] for key in found}, rel=2e-3)


@pytest.mark.parametrize("name", PACKED)
def test_cards_have_results_of_many_faces_too(name):
    encodes = not load(name).model.encode_nfe
    assert (f"{MANY}, standard, test, AP" in EXPECTED[name]) == encodes
    assert any(key.startswith(MANY) and "x_T" in key for key in EXPECTED[name])


@pytest.mark.skipif(not {"builtin:ddim", "builtin:pdae"} <= BUILTIN.keys(), reason="one of the two does not come along")
def test_what_pdae_is_built_on_is_the_ddim_beside_it():
    ddim, pdae = load("builtin:ddim").model, load("builtin:pdae").model
    for part in FROZEN:
        theirs, ours = (model.get_submodule(part).state_dict() for model in (ddim.network, pdae.decoder))
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(value, ours[key]) for key, value in theirs.items()), part
