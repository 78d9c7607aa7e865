"""Checkpoint files: what is written is read back, and what is damaged is refused with a reason."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from golden_fill import relative_l2
from safetensors.torch import save_file
from small_model import small_card, small_model

from dbae.checkpoints import own as checkpoint
from dbae.checkpoints.fields import from_json
from dbae.checkpoints.own import Card
from dbae.model import DBAE, DBAEConfig, ffhq128
from dbae.support.errors import UserError


@pytest.fixture(scope="module")
def model() -> DBAE:
    return small_model().eval()


@pytest.fixture(scope="module")
def averaged() -> DBAE:
    return small_model(seed=1).eval()


@pytest.fixture
def path(tmp_path: Path, model: DBAE, averaged: DBAE) -> Path:
    """A file with raw and averaged weights."""
    path = tmp_path / "a.safetensors"
    card = small_card(model, images_seen=640, train_data={"name": "pixels", "size": 16}, note="for tests")
    checkpoint.save(path, card, raw=model.state_dict(), ema=averaged.state_dict())
    return path


def same(a: DBAE, b: DBAE, rtol: float = 0.0) -> None:
    assert list(a.state_dict()) == list(b.state_dict())
    for key, value in a.state_dict().items():
        torch.testing.assert_close(value, b.state_dict()[key], rtol=rtol, atol=rtol / 100, msg=key)


def rewritten(path: Path, *, card: object = None, **tensors: torch.Tensor | None) -> Path:
    """The file again with some tensors replaced (None: left out) or another card."""
    old, values = checkpoint.read_tensors(path, "card")
    kept = {k: v for k, v in (old | tensors).items() if v is not None}
    save_file(kept, path, metadata={"card": json.dumps(values if card is None else card)})
    return path


def test_both_sets_of_weights_come_back(path, model, averaged):
    for weights, expected in ((None, averaged), ("ema", averaged), ("raw", model)):
        found, card = checkpoint.load(path, weights=weights)
        same(found, expected)
        assert found.config == model.config
        assert not found.training
        assert all(p.requires_grad and p.device.type == "cpu" for p in found.parameters())
    assert card == Card(
        method="dbae",
        name="small",
        config=json.loads(json.dumps(dataclasses.asdict(model.config))),
        images_seen=640,
        train_data={"name": "pixels", "size": 16},
        note="for tests",
    )


def test_loaded_model_computes_the_same(path, averaged):
    found, _ = checkpoint.load(path)
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        z = averaged.encode(x)
        assert relative_l2(found.encode(x), z) < 1e-6
        assert relative_l2(found.endpoint(z), averaged.endpoint(z)) < 1e-6


def test_half_precision_file_is_smaller_and_loads_as_float32(tmp_path, path, model):
    half = tmp_path / "half.safetensors"
    checkpoint.save(half, small_card(model), raw=model.state_dict(), dtype=torch.float16)
    found, _ = checkpoint.load(half)
    assert {v.dtype for v in found.state_dict().values()} == {torch.float32, torch.int64}
    same(found, model, rtol=2**-10)
    stored, _ = checkpoint.read_tensors(half, "card")
    assert {v.dtype for v in stored.values()} == {torch.float16, torch.int64}


def test_a_file_is_a_function_of_its_content(tmp_path, path, model, averaged):
    """Any memory layout gives the same bytes, so a hash names the weights."""
    again = tmp_path / "b.safetensors"
    layout = {k: v.to(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in model.state_dict().items()}
    _, card = checkpoint.load(path)
    checkpoint.save(again, card, raw=layout, ema=averaged.state_dict())
    assert again.read_bytes() == path.read_bytes()


def test_missing_set_of_weights(tmp_path, model):
    path = tmp_path / "raw.safetensors"
    checkpoint.save(path, small_card(model), raw=model.state_dict())
    same(checkpoint.load(path)[0], model)
    with pytest.raises(UserError, match=r"raw\.safetensors: expected 'ema\.\*' weights, found raw"):
        checkpoint.load(path, weights="ema")
    checkpoint.save(path, small_card(model))
    with pytest.raises(UserError, match="found none"):
        checkpoint.load(path)


# --- damaged and foreign files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tenths", range(10))
def test_truncated_file(path, tenths):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * tenths // 10])
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))} \(\d+ bytes\): not a complete .* again\.$"):
        checkpoint.load(path)


@pytest.mark.parametrize("cut", [1, 7, 8, 9])
def test_a_few_bytes_are_missing_or_left(path, cut):
    data = path.read_bytes()
    for part in (data[:-cut], data[:cut]):
        path.write_bytes(part)
        with pytest.raises(UserError, match="not a complete safetensors file"):
            checkpoint.load(path)


def test_text_file(tmp_path):
    path = tmp_path / "notes.safetensors"
    path.write_text("weights to come\n" * 100)
    with pytest.raises(UserError, match=r"notes\.safetensors \(1600 bytes\): not a complete safetensors file"):
        checkpoint.load(path)


def test_folder_and_absent_file(tmp_path):
    for path in (tmp_path, tmp_path / "none.safetensors"):
        with pytest.raises(UserError, match=rf"{path.name}: no such checkpoint file"):
            checkpoint.load(path)


def test_state_that_lies_beside_a_checkpoint(tmp_path):
    state = tmp_path / "images-000000064.state.safetensors"
    save_file({"a": torch.zeros(2)}, state, metadata={"state": "{}"})
    with pytest.raises(UserError, match=r"optimiser's state\. .* name images-000000064\.safetensors\.$"):
        checkpoint.load(state)


def test_safetensors_of_another_program(tmp_path):
    path = tmp_path / "other.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": torch.zeros(2)}, path, metadata=metadata)
        with pytest.raises(UserError, match=r"file with a 'card' header .* found headers .*`python -m dbae\.train`"):
            checkpoint.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ema.score.out.2.bias": None}, r"missing score\.out\.2\.bias\.$"),
        ({"ema.score.more": torch.zeros(1)}, r"unexpected score\.more\.$"),
        ({"ema.score.out.2.bias": torch.zeros(4)}, r"score\.out\.2\.bias has shape \(4,\), expected \(3,\)"),
        ({"ema.score.out.2.bias": torch.tensor([0, torch.nan, 0])}, r"score\.out\.2\.bias has NaN or infinite values"),
        ({"ema.score.out.2.bias": torch.tensor([0, torch.inf, 0])}, r"score\.out\.2\.bias has NaN or infinite values"),
        ({"ema.score.out.2.bias": torch.tensor([1, 2, 3])}, r"score\.out\.2\.bias is torch\.int64"),
    ],
)
def test_tensors_that_do_not_fit(path, change, message):
    with pytest.raises(UserError, match=rf"a\.safetensors: its tensors do not fit the architecture: {message}"):
        checkpoint.load(rewritten(path, **change))


def test_long_list_of_faults_is_shortened(path):
    tensors, _ = checkpoint.read_tensors(path, "card")
    missing = {key: None for key in tensors if key.startswith("ema.decoder")}
    with pytest.raises(UserError, match=rf"; and {len(missing) - 5} more\.$"):
        checkpoint.load(rewritten(path, **missing))


def test_faults_of_the_other_weights_do_not_matter(path, model):
    rewritten(path, **{"ema.score.out.2.bias": None})
    same(checkpoint.load(path, weights="raw")[0], model)


def test_card_of_a_newer_format_or_another_method(path):
    _, values = checkpoint.read_tensors(path, "card")
    with pytest.raises(UserError, match=r"expected a card of format 1, found format 2 \(method 'dbae'\)"):
        checkpoint.load(rewritten(path, card=values | {"format": 2}))
    with pytest.raises(UserError, match="expected a checkpoint of method 'dbae', found one of method 'x'"):
        checkpoint.load(rewritten(path, card=values | {"method": "x"}))


def test_card_and_weights_of_any_method_can_be_read(tmp_path):
    card = Card(method="x", name="a", config={"width": 3})
    checkpoint.save(tmp_path / "a.safetensors", card, raw={"w": torch.ones(3)}, ema={"w": torch.zeros(3)})
    found, states = checkpoint.read(tmp_path / "a.safetensors")
    assert found == card
    assert {kind: state["w"].tolist() for kind, state in states.items()} == {"raw": [1, 1, 1], "ema": [0, 0, 0]}
    checkpoint.save(tmp_path / "b.safetensors", card, raw={"w": torch.ones(3)})
    assert list(checkpoint.read(tmp_path / "b.safetensors")[1]) == ["raw"]


@pytest.mark.parametrize("card", [[1, 2], "text", 3])
def test_card_that_is_no_object(path, card):
    with pytest.raises(UserError, match=r"a\.safetensors"):
        checkpoint.load(rewritten(path, card=card))


@pytest.mark.parametrize(
    "change",
    [
        {"config": {}},
        {"config": {"image_size": 16}},
        {"surprise": 1},
    ],
)
def test_card_with_missing_or_unknown_fields(path, change):
    _, values = checkpoint.read_tensors(path, "card")
    with pytest.raises(UserError, match=r"a\.safetensors: its card does not describe"):
        checkpoint.load(rewritten(path, card=values | change))


@pytest.mark.parametrize("change", [{"image_size": 17}, {"image_size": "16"}, {"latent_dim": -1}, {"score": None}])
def test_card_with_values_no_model_has(path, change):
    _, values = checkpoint.read_tensors(path, "card")
    with pytest.raises(UserError, match=r"a\.safetensors: its card does not describe a model of method 'dbae'"):
        checkpoint.load(rewritten(path, card=values | {"config": values["config"] | change}))


# --- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [ffhq128(), ffhq128(stochastic=False)])
def test_config_survives_json(config):
    assert from_json(DBAEConfig, json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_from_json_refuses_unknown_and_missing_names():
    with pytest.raises(KeyError, match="surprise"):
        from_json(Card, {"method": "dbae", "name": "a", "config": {}, "surprise": 1})
    with pytest.raises(TypeError, match="config"):
        from_json(Card, {"method": "dbae", "name": "a"})
    assert from_json(Card, {"method": "dbae", "name": "a", "config": {}}).format == checkpoint.FORMAT


def test_as_json_is_what_a_file_gives_back():
    assert checkpoint.as_json({"a": (1, (2,)), "b": None}) == {"a": [1, [2]], "b": None}
