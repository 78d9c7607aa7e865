"""`pack`: rounded weights, a card with what was measured of them, and a line in the list of hashes."""

from __future__ import annotations

import dataclasses
import subprocess

import pytest
import torch
from official_files import small_ddim
from small_model import small_checkpoint, small_model

from benchmarks.reproduce import pack
from benchmarks.reproduce.pack import PackOptions
from dbae.checkpoints import own
from dbae.networks.latent_mlp import LatentMLPConfig
from dbae.prior import METHOD, LatentPrior
from dbae.support.errors import UserError
from dbae.support.files import sha256

DATA = "faces:?n=60"


@pytest.fixture
def source(tmp_path):
    return small_checkpoint(tmp_path / "source.safetensors")


def test_the_card_has_what_the_rounded_averaged_weights_give(source, tmp_path):
    out = tmp_path / "packed" / "small.safetensors"
    pack.pack(PackOptions(source, out, data=(DATA,), note="For a test.", results=tmp_path / "first"))
    card, states = own.read(out)
    assert (card.note, card.images_seen, list(states)) == ("For a test.", 64, ["ema"])
    assert {v.dtype for v in states["ema"].values() if v.is_floating_point()} == {torch.float16}
    rounded = {k: v.half().float() for k, v in small_model(seed=1).state_dict().items() if v.is_floating_point()}
    assert all(torch.equal(states["ema"][key].float(), value) for key, value in rounded.items())
    assert {f"{DATA}, standard, test, AP", f"{DATA}, paper, test, Pearson_r"} <= card.expected.keys()
    assert any("decoded x_T" in key and key.endswith(", MSE") for key in card.expected)
    assert pack.expected(str(out), DATA, tmp_path / "second") == card.expected
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=out.parent, check=True)


def test_a_model_whose_z_is_its_noise_is_measured_by_its_reconstructions(tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "RECONSTRUCTIONS", 4)
    torch.save(small_ddim(), tmp_path / "ddim.pt")
    found = pack.expected(f"{tmp_path}/ddim.pt?heads=1&image_size=32&schedule=cosine", DATA, tmp_path / "results")
    assert found
    assert all(" x_T, " in key for key in found)


def test_a_prior_is_packed_as_it_is(tmp_path):
    prior = LatentPrior(LatentMLPConfig(4, 8, 2))
    card = own.Card(METHOD, "small-prior", dataclasses.asdict(prior.config), {"autoencoder_sha256": "ab"})
    own.save(tmp_path / "source.safetensors", card, ema=prior.state_dict())
    pack.pack(PackOptions(tmp_path / "source.safetensors", tmp_path / "prior.safetensors", note="Small."))
    packed, states = own.read(tmp_path / "prior.safetensors")
    assert packed == dataclasses.replace(card, note="Small.")
    assert {value.dtype for value in states["ema"].values()} == {torch.float16}


def test_the_line_of_a_file_in_the_list_is_written_anew(source, tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "expected", lambda ckpt, data, results: {data: 0.5})
    (tmp_path / "SHA256SUMS").write_text("00  b.safetensors\n11  z.safetensors\n")
    for name, force in (("b", False), ("a", False), ("b", True)):
        pack.pack(PackOptions(source, tmp_path / f"{name}.safetensors", data=("x", "y"), force=force))
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert [line.split()[1] for line in lines] == ["a.safetensors", "b.safetensors", "z.safetensors"]
    assert lines[2].startswith("11 ")
    assert own.read(tmp_path / "b.safetensors")[0].expected == {"x": 0.5, "y": 0.5}
    for hashes in ("\n# mine\n11  a b.safetensors\n22 *c.safetensors\n\n", "11  a b.safetensors\n22  c.safetensors\n"):
        (tmp_path / "SHA256SUMS").write_text(hashes)
        pack.pack(PackOptions(source, tmp_path / "a b.safetensors", data=(), force=True))
        digest = sha256(tmp_path / "a b.safetensors")
        assert (tmp_path / "SHA256SUMS").read_text() == f"{digest}  a b.safetensors\n22  c.safetensors\n"
    (tmp_path / "SHA256SUMS").write_text("11\n")
    with pytest.raises(
        UserError, match=r"SHA256SUMS: expected a hash, two spaces and a name in every line, found '11'"
    ):
        pack.pack(PackOptions(source, tmp_path / "d.safetensors", data=()))
    assert not (tmp_path / "d.safetensors").exists()
    with pytest.raises(UserError, match=r"b\.safetensors: is there already\. Add --force"):
        pack.pack(PackOptions(source, tmp_path / "b.safetensors"))
