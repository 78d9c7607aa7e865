"""Cards of published checkpoints, and `python -m baselines.list`."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from official_files import manifest, save_lightning, small_ddim

from baselines import cards
from baselines.cards import Card, expected
from baselines.list import Options, list_checkpoints
from baselines.load import load
from baselines.methods import ddim, diffae, pdae
from dbae.model import DBAE, celeba64, ffhq128, parameter_counts
from dbae.support.errors import UserError

ALL = cards.cards()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DBAE_CHECKPOINTS", str(tmp_path))
    return tmp_path


def test_every_published_checkpoint_has_a_card():
    families = Counter(name.split("/")[0] for name in ALL)
    assert families == {"dbae": 5, "diffae": 11, "ddim": 4, "pdae": 15}
    files = Path(cards.__file__).parent.joinpath("cards").glob("*.yaml")
    assert sum(len(yaml.safe_load(file.read_text())["checkpoints"]) for file in files) == len(ALL)


@pytest.mark.parametrize("card", ALL.values(), ids=ALL)
def test_card(card):
    assert re.fullmatch(r"(dbae|diffae|ddim|pdae)/[a-z0-9-]+", card.name)
    assert card.method in ("DBAE", "DiffAE", "DDIM", "PDAE")
    assert card.obtain.startswith("https://drive.google.com/drive/folders/")
    assert card.source.startswith("https://github.com/")
    assert "/" not in card.file
    assert card.image_size in (64, 128, 256)
    assert card.latent_dim == (3 * card.image_size**2 if "diffusion model" in card.contains.split(" (")[0] else 512)
    assert (card.sha256, card.size) == (None, None), "never seen by us: neither is known"


def test_no_two_cards_are_one_file():
    places = [(card.obtain, card.file, card.contains) for card in ALL.values()]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("card", [c for c in ALL.values() if c.reproduces], ids=lambda c: c.name)
def test_cells_to_reproduce_are_in_the_tables(card):
    for wanted in card.reproduces:
        rows = expected(Card(**{**vars(card), "reproduces": (wanted,)}))
        assert rows, wanted
        assert all(row["method"] in (card.method, "DDPM") for row in rows)
        assert all(float(row["value"]) > -1 for row in rows if row["value"] != "NA")
        # What is expected of a model that was trained on FFHQ is not a row of one trained on CelebA.
        data = {row["dataset"].split(";")[0].removeprefix("train=") for row in rows} - {""}
        assert data <= {"FFHQ" if card.train_data.startswith("FFHQ") else "CelebA"}


def test_parameters_are_those_of_the_architectures():
    import torch

    latent10 = 54_109_696
    with torch.device("meta"):
        counts = {
            "dbae/ffhq128": DBAE(ffhq128(True)),
            "dbae/ffhq128-d": DBAE(ffhq128(False)),
            "dbae/celeba64": DBAE(celeba64(512, True)),
            "dbae/celeba64-d": DBAE(celeba64(512, False)),
            "diffae/ffhq128": diffae.DiffAE(diffae.ffhq128()),
            "diffae/ffhq256": diffae.DiffAE(diffae.ffhq256()),
            "ddim/ffhq128": ddim.DDIM(ddim.ffhq128()),
            "pdae/ffhq128": pdae.PDAE(pdae.ffhq128()),
        }
    totals = {name: parameter_counts(model)["total"] for name, model in counts.items()}
    totals["diffae/ffhq128-latent"] = totals["diffae/ffhq128"] + latent10
    totals["diffae/ffhq256-latent"] = totals["diffae/ffhq256"] + latent10
    totals["diffae/horse128-latent"] = manifest("diffae/manifest_horse128_autoenc_latent")["num_parameters"]
    for name, total in totals.items():
        assert ALL[name].parameters == total, name


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_name_opens_its_file(root):
    (root / "ddim" / "ffhq128").mkdir(parents=True)
    path = save_lightning(root / "ddim" / "ffhq128" / "last.ckpt", small_ddim())
    for source in ("ddim/ffhq128", path):
        found = load(source)
        assert (found.name, found.path) == ("ddim/ffhq128", path)
        assert found.train_data == ALL["ddim/ffhq128"].train_data


def test_names_that_open_nothing(root, monkeypatch):
    with pytest.raises(UserError, match=rf"^ddim/ffhq128: expected {root}/ddim/ffhq128/last\.ckpt, found no such file"):
        load("ddim/ffhq128")
    with pytest.raises(UserError, match=r"^ddim/ffhq: no such file or published checkpoint; there is ddim/ffhq128, "):
        load("ddim/ffhq")
    monkeypatch.delenv("DBAE_CHECKPOINTS")
    with pytest.raises(UserError, match=r"set DBAE_CHECKPOINTS to the folder that holds ddim/ffhq128/last\.ckpt"):
        load("ddim/ffhq128")
    with pytest.raises(UserError, match=r"other/x: no such checkpoint file"):
        load("other/x")


def test_a_file_of_the_users_own_comes_before_a_card(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ddim").mkdir()
    save_lightning(Path("ddim/ffhq128"), small_ddim())
    assert load("ddim/ffhq128").path == Path("ddim/ffhq128")


# --- the list ---------------------------------------------------------------------------------------------------------


def test_list(root, capsys):
    (root / "ddim" / "horse128").mkdir(parents=True)
    (root / "ddim" / "horse128" / "last.ckpt").touch()
    list_checkpoints(Options())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == list(ALL)
    assert [line.split()[1] for line in lines if line.startswith("*")] == ["ddim/horse128"]


def test_long_list_shows_values_of_the_tables(root, capsys):
    list_checkpoints(Options("diffae/ffhq128", long=True))
    text = capsys.readouterr().out
    assert "DBAE_CHECKPOINTS" not in text
    assert "Table 1_camera_ready, train=FFHQ;eval=CelebA test: AP 0.605" in text
    assert "Table 2, inferred x_T, train=FFHQ;eval=CelebA-HQ: SSIM 0.991, LPIPS 0.011, MSE 6.07e-5" in text
    assert "parameters  128,545,155" in text


def test_list_without_a_folder_or_a_match(monkeypatch, capsys):
    monkeypatch.delenv("DBAE_CHECKPOINTS", raising=False)
    list_checkpoints(Options("pdae"))
    assert "DBAE_CHECKPOINTS is not set" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"^vqgan: no published checkpoint has a name that begins so"):
        list_checkpoints(Options("vqgan"))
