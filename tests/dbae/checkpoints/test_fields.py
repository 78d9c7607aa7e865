"""Cards whose values are of other types, out of bounds, or describe more than the file has."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest
from latent_networks import small_prior
from small_model import small_card, small_model

from dbae import prior
from dbae.checkpoints import own as checkpoint
from dbae.checkpoints.fields import at_most, from_json
from dbae.networks.trunk import UNetConfig
from dbae.support.errors import UserError


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, path = small_model(), tmp_path_factory.mktemp("cards") / "a.safetensors"
    checkpoint.save(path, small_card(model), ema=model.state_dict())
    return path


def carded(path: Path, to: Path, *keys: str, value: Any) -> Path:
    """A copy whose card has another value under `keys`."""
    tensors, card = checkpoint.read_tensors(path, "card")
    place = card = copy.deepcopy(card)
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    checkpoint.write_tensors(to, tensors, {"card": json.dumps(card)})
    return to


WRONG: list[Any] = [None, "16", True, {}, [16], 1 << 60, float("nan"), "x" * 999]
PLACES = ["name", "config", "images_seen", "versions", "config.image_size", "config.score.channel_mult"]
PLACES += ["config.bridge.mode", "config.bridge.end_data"]


@pytest.mark.parametrize("place", PLACES)
def test_values_of_another_type_are_one_line(path, tmp_path, place):
    keys = place.split(".")
    value = checkpoint.read_tensors(path, "card")[1]
    for key in keys:
        value = value[key]
    for wrong in WRONG:
        if type(wrong) is type(value) and wrong in (True, {}, "x" * 999, "16") and place in ("versions", "name"):
            continue
        other = carded(path, tmp_path / "b.safetensors", *keys, value=wrong)
        with pytest.raises(UserError, match=rf"^{other}: its (card|tensors) do(es)? not .{{,900}}$"):
            checkpoint.load(other)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("config", "score", "res_blocks"), 10_000_000, "more than the .* tensors that the file has"),
        (("config", "encoder", "res_blocks"), 10_000_000, "more than the .* tensors that the file has"),
        (("config", "score", "channel_mult"), [1] * 10_000, "channel_mult: expected at most 100 entries, found 10000"),
        (("config", "score", "channel_mult"), [1, "1"], "channel_mult: expected a number, found '1'"),
        (("config", "score", "channel_mult"), [1, True], "channel_mult: expected a number, found True"),
        (("config", "score", "channel_mult"), [1, float("nan")], "channel_mult: expected a finite number, found nan"),
        (("config", "score", "channel_mult"), [1, 1e300], "its card does not describe"),
        (("config", "score", "base"), "16", "score.base: expected an integer, found '16'"),
        (("config", "bridge", "mode"), "xp", "bridge.mode: expected one of vp, ve, found 'xp'"),
        (("config", "bridge", "end_data"), float("nan"), "bridge.end_data: expected a finite number, found nan"),
        (("images_seen",), "many", "images_seen: expected an integer, found 'many'"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_at_once(path, tmp_path, keys, value, message):
    other, started = carded(path, tmp_path / "b.safetensors", *keys, value=value), time.process_time()
    with pytest.raises(UserError, match=message):
        checkpoint.load(other)
    assert time.process_time() - started < 5


def test_whole_numbers_stay_whole_where_fractions_may_stand():
    read = from_json(UNetConfig, {"base": 256, "channel_mult": [0.5, 1, 2]})
    assert read.levels == [128, 256, 512]
    assert json.dumps(read.channel_mult) == "[0.5, 1, 2]"


def test_a_prior_of_2_to_the_40_layers_is_refused_at_once(tmp_path):
    model, path, started = small_prior(), tmp_path / "p.safetensors", time.process_time()
    card = checkpoint.Card(method=prior.METHOD, name="p", config={})
    values = {"latent_dim": model.latent_dim, "hidden": 8, "layers": 1 << 40}
    checkpoint.save(path, checkpoint.Card(prior.METHOD, card.name, values), raw=model.state_dict())
    with pytest.raises(UserError, match=r"more than the .* tensors that the file has"):
        prior.load(path)
    assert time.process_time() - started < 5


def test_the_bound_ends_with_its_block():
    with pytest.raises(ValueError, match="more than the 3 tensors"), at_most(3):
        small_model()
    assert small_model().latent_dim == 4
