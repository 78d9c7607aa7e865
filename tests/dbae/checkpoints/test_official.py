"""Files of the DBAE authors: recognised by keys and shapes, loaded strictly, never executed."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from golden_fill import fill
from small_model import narrow_celeba64
from torch import Tensor

from dbae.bridge import Bridge
from dbae.checkpoints import official
from dbae.model import DBAE, DBAEConfig, celeba64, ffhq128
from dbae.support.errors import UserError

PUBLISHED = [
    *(celeba64(latent, stochastic) for latent in (32, 256, 512) for stochastic in (True, False)),
    ffhq128(stochastic=True),
    ffhq128(stochastic=False),
]


def published_state(config: DBAEConfig, device: str) -> OrderedDict[str, Tensor]:
    """A state dict as the authors save it; on the CPU its values are those of the golden data."""
    with torch.device("meta"):
        state = {official.official_key(k): v for k, v in DBAE(config).state_dict().items()}
    return OrderedDict(fill(state) if device == "cpu" else state)


@pytest.fixture(scope="module")
def narrow_state() -> OrderedDict[str, Tensor]:
    return published_state(narrow_celeba64(32), "cpu")


@pytest.fixture
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the published architecture to be a thinner one, so that files are small."""
    monkeypatch.setattr(official, "celeba64", narrow_celeba64)


def saved(path: Path, state: object, **options: bool) -> Path:
    torch.save(state, path, **options)
    return path


def equal(model: DBAE, state: dict[str, Tensor]) -> bool:
    found = {official.official_key(k): v for k, v in model.state_dict().items()}
    return found.keys() == state.keys() and all(torch.equal(v, state[k]) for k, v in found.items())


@pytest.mark.parametrize("config", PUBLISHED, ids=lambda c: f"{c.image_size}-{c.latent_dim}-{c.stochastic}")
def test_published_shapes_are_recognised(config):
    state = published_state(config, "meta")
    assert official.detect(state) == config
    with torch.device("meta"):
        assert [official.our_key(key) for key in state] == list(DBAE(config).state_dict())


@pytest.mark.parametrize(
    "change",
    [
        {"latent_dim": 96},
        {"score": {"attention_sizes": (16,)}},
        {"score": {"base": 32, "head_channels": 32}},
        {"stochastic": False, "latent_dim": 10, "score": {"channel_mult": (1, 2, 2, 2, 4), "res_blocks": 1}},
    ],
    ids=str,
)
def test_sizes_that_show_are_read_off_and_the_rest_is_asked_for(change):
    config = dataclasses.replace(ffhq128(), **{k: v for k, v in change.items() if k != "score"})
    config = dataclasses.replace(config, score=dataclasses.replace(config.score, **change.get("score", {})))
    found = official.detect(published_state(config, "meta"))
    assert found is not None
    assert not official.published(found)
    answers = {"head_channels": str(config.score.head_channels), "attention_order": "legacy", "bridge": "ve"}
    settled = official.settled(found, official.QUESTION.answered("x", user=answers, file={}, published={}), "x")
    ve = dataclasses.replace(config, bridge=Bridge("ve"))
    assert dataclasses.replace(settled, score=dataclasses.replace(settled.score, embedding=None)) == ve
    assert settled.score.width == ve.score.width
    with pytest.raises(UserError, match="says nothing of attention_order and bridge and heads"):
        official.QUESTION.answered("x", user={}, file={}, published={})


@pytest.mark.usefixtures("_narrow")
def test_a_published_file_may_be_told_its_bridge(tmp_path, narrow_state):
    path = saved(tmp_path / "ve.pt", narrow_state)
    assert official.load(path).config.bridge == Bridge("vp")
    told = official.load(path, options={"bridge": "ve", "heads": "1"})
    assert told.config.bridge == Bridge("ve")
    with pytest.raises(UserError, match="has no use for schedule"):
        official.load(path, options={"schedule": "linear"})


def test_other_shapes_are_not():
    assert official.detect({}) is None
    state = published_state(celeba64(32), "meta")
    assert official.detect({k: v for k, v in state.items() if k != "label_emb.weight"}) is None
    assert official.detect(state | {"label_emb.weight": torch.zeros(())}) is None
    large = published_state(ffhq128(), "meta")
    assert official.detect(large | {"label_emb.weight": torch.empty(512, 7, device="meta")}) is None


@pytest.mark.usefixtures("_narrow")
@pytest.mark.parametrize("zipped", [True, False])
def test_file_loads_strictly(tmp_path, narrow_state, zipped):
    path = saved(tmp_path / "ema_0.9999_1020000.pt", narrow_state, _use_new_zipfile_serialization=zipped)
    model = official.load(path)
    assert equal(model, narrow_state)
    assert not model.training
    assert (model.name, model.config) == ("ema_0.9999_1020000", narrow_celeba64(32))
    assert official.load(path, name="DBAE").name == "DBAE"


@pytest.mark.usefixtures("_narrow")
def test_tensors_that_share_a_storage_are_not_kept_alive(tmp_path, narrow_state):
    flat = torch.cat([v.flatten() for v in narrow_state.values() if v.is_floating_point()])
    views, start = {}, 0
    for key, value in narrow_state.items():
        views[key] = flat[start : (start := start + value.numel())].view(value.shape) if value.ndim else value
    model = official.load(saved(tmp_path / "flat.pt", OrderedDict(views)))
    assert equal(model, narrow_state)
    assert all(v.untyped_storage().nbytes() == v.nbytes for v in model.state_dict().values())


@pytest.mark.usefixtures("_narrow")
def test_half_precision_file_becomes_float32(tmp_path, narrow_state):
    half = {k: v.half() if v.is_floating_point() else v for k, v in narrow_state.items()}
    model = official.load(saved(tmp_path / "half.pt", half))
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.slow
def test_full_size_file(tmp_path):
    config = celeba64(32)
    state = published_state(config, "cpu")
    model = official.load(saved(tmp_path / "ema.pt", state))
    assert model.config == config
    assert equal(model, state)


# --- files that are refused -------------------------------------------------------------------------------------------


class Command:
    """Unpickling an instance would run a shell command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.usefixtures("_narrow")
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_run(tmp_path, narrow_state, zipped):
    marker = tmp_path / "was_here"
    path = tmp_path / "hostile.pt"
    for content in (Command(marker), {**narrow_state, "more": Command(marker)}):
        saved(path, content, _use_new_zipfile_serialization=zipped)
        with pytest.raises(UserError, match=r"hostile\.pt .*refused for safety"):
            official.load(path)
    assert not marker.exists()


@pytest.mark.usefixtures("_narrow")
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("tenths", range(10))
def test_truncated_file(tmp_path, narrow_state, tenths, zipped):
    path = saved(tmp_path / "cut.pt", narrow_state, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * tenths // 10])
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))} \(\d+ bytes\): not a complete PyTorch file"):
        official.load(path)


def test_text_file_folder_and_absent_file(tmp_path):
    (tmp_path / "notes.pt").write_text("weights to come\n" * 100)
    with pytest.raises(UserError, match=r"notes\.pt \(1600 bytes\): not a complete PyTorch file of tensors"):
        official.load(tmp_path / "notes.pt")
    for path in (tmp_path, tmp_path / "none.pt"):
        with pytest.raises(UserError, match=rf"{path.name}: no such checkpoint file"):
            official.load(path)


@pytest.mark.parametrize("content", [[1.0], {"epoch": 3}, {"state_dict": {"w": torch.zeros(1)}}, torch.zeros(2)])
def test_file_of_other_things(tmp_path, content):
    with pytest.raises(UserError, match=r"other\.pt: expected a state dict of tensors alone, found"):
        official.load(saved(tmp_path / "other.pt", content))


def test_another_model(tmp_path):
    state = torch.nn.Linear(2, 2).state_dict()
    with pytest.raises(UserError, match=r"linear\.pt: expected a published DBAE .* found 2 tensors such as \['bias'"):
        official.load(saved(tmp_path / "linear.pt", state))


@pytest.mark.usefixtures("_narrow")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out.2.bias": None}, r"missing score\.out\.2\.bias"),
        ({"more": torch.zeros(1)}, r"unexpected score\.more"),
        ({"out.2.bias": torch.zeros(2)}, r"score\.out\.2\.bias has shape \(2,\), expected \(3,\)"),
        ({"out.2.bias": torch.full((3,), torch.nan)}, r"score\.out\.2\.bias has NaN"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, narrow_state, change, message):
    state = {k: v for k, v in (narrow_state | change).items() if v is not None}
    with pytest.raises(UserError, match=rf"bad\.pt: its tensors do not fit the architecture: {message}"):
        official.load(saved(tmp_path / "bad.pt", state))


def test_a_published_model_of_another_width_is_refused(tmp_path, narrow_state):
    with pytest.raises(UserError, match=r"thin\.pt: a DBAE of no published configuration, which says nothing of"):
        official.load(saved(tmp_path / "thin.pt", narrow_state))
