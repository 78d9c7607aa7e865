from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, fill, relative_l2
from torch import nn

from benchmarks.extractors import features
from benchmarks.extractors.features import FeatureExtractor, Lpips, load_extractors, load_inception, load_lpips
from benchmarks.extractors.inception import Inception, network_input, require_clean_fid_agrees, resize
from benchmarks.extractors.torchvision_shim import import_torchvision
from benchmarks.generation.distribution import Reference
from dbae.support.errors import UserError
from dbae.support.files import sha256

VARIANTS = {"tf1": "tf", "clean": "clean", "legacy_pytorch": "legacy_pytorch"}


@pytest.fixture(autouse=True)
def _no_weights_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("DBAE_WEIGHTS_DIR", raising=False)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "metrics" / "inception.npz") as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def statistics():
    return json.loads((GOLDEN / "metrics" / "inception.json").read_text())


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    """Weights by rule G-inc of golden/metrics/README.md, in a file such as pytorch-fid's."""
    with torch.device("meta"):
        shapes = Inception().state_dict()
    state = {key: 1.5 * value if key.endswith("conv.weight") else value for key, value in fill(shapes).items()}
    path = tmp_path_factory.mktemp("inception") / "golden.pth"
    torch.save(state, path)
    return path


@pytest.mark.golden
@pytest.mark.parametrize("variant", VARIANTS)
def test_resize_is_that_of_the_references(golden, statistics, variant):
    big = resize(golden["images"], variant)
    atol = 0 if variant == "tf1" else 1e-4
    np.testing.assert_allclose(big[:, :, ::13, ::13], golden[f"resize_{variant}_strided"], rtol=0, atol=atol)
    _check_statistics(big, statistics["stats"][f"resize_{variant}"])


def _check_statistics(found: torch.Tensor, expected: dict[str, float]) -> None:
    found = found.double()
    assert float(found.mean()) == pytest.approx(expected["mean"], rel=1e-4)
    assert float(found.std(correction=0)) == pytest.approx(expected["std"], rel=1e-4)
    assert float(found.norm()) == pytest.approx(expected["l2"], rel=1e-4)


@pytest.mark.golden
@pytest.mark.parametrize("variant", VARIANTS)
def test_features_are_those_of_the_references(golden, statistics, inception_file, variant):
    extractor = load_inception(inception_file, variant=variant)
    assert isinstance(extractor, FeatureExtractor)
    found = extractor.outputs(golden["images"])
    key = f"pool3_{VARIANTS[variant]}"
    assert relative_l2(found.pool, golden[key]) < 1e-4
    _check_statistics(found.pool, statistics["stats"][key])
    if variant == "tf1":
        assert relative_l2(found.logits, golden["logits_unbiased"]) < 1e-4
        assert relative_l2(found.pool @ extractor.head.T, golden["logits_unbiased"]) < 1e-4
        assert relative_l2(found.logits + extractor.network.fc.bias, golden["logits"]) < 1e-4
        assert relative_l2(found.spatial[:, ::3], golden["spatial7_tf_strided"]) < 1e-4
        _check_statistics(found.spatial, statistics["stats"]["spatial7_tf"])


@pytest.mark.golden
def test_number_of_tensors(statistics):
    with torch.device("meta"):
        state = Inception().state_dict()
    assert len(state) == statistics["keys"]
    assert sum(value.is_floating_point() for value in state.values()) == statistics["float_keys"]


@pytest.mark.parity
def test_resize_is_that_of_clean_fid():
    import_torchvision()
    from cleanfid.resize import build_resizer

    pixels = np.random.RandomState(0).randint(0, 256, (2, 3, 421, 350)).astype(np.uint8)  # smaller and larger than 299
    pixels = pixels, pixels[:, :, :200, :64]
    for images in pixels:
        for variant in ("clean", "legacy_pytorch"):
            expected = [build_resizer(variant)(image.transpose(1, 2, 0)).transpose(2, 0, 1) for image in images]
            np.testing.assert_allclose(resize(torch.from_numpy(images), variant), np.stack(expected), rtol=0, atol=1e-4)


@pytest.mark.parity
def test_network_keys_are_those_of_torchvision():
    torchvision = import_torchvision()
    with torch.device("meta"):
        theirs = torchvision.models.inception_v3(weights=None, aux_logits=False, num_classes=1008, init_weights=False)
        ours = Inception()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}


def test_features_do_not_depend_on_the_batch(golden, inception_file):
    extractor = load_inception(inception_file)
    together = extractor(golden["images"])
    assert relative_l2(extractor(golden["images"][1:2]), together[1:2]) < 1e-5


class _CleanFid(nn.Module):
    """Shaped like clean-fid's TorchScript: `layers` ends in 2048 features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AvgPool2d(99), nn.Flatten(), nn.Linear(27, 2048))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_recognised_by_content_and_executed_if_it_is_clean_fids(golden, tmp_path, monkeypatch):
    network, path = _CleanFid(), tmp_path / "inception-2015-12-05.pt"
    torch.jit.script(network).save(str(path))
    with pytest.raises(UserError, match=r"found another TorchScript file .*, which is a program\..*--execute-inc"):
        load_inception(path)
    with pytest.raises(UserError, match="which is a program"):
        load_extractors(inception_weights=path)
    (other,) = load_extractors(inception_weights=path, execute_code=True)
    assert other.name == "file-inception-2015-12-05"
    assert Reference(other, torch.zeros(3, 2)).role.frechet == "FD-file-inception-2015-12-05"
    monkeypatch.setattr(features, "TORCHSCRIPT_SHA256", sha256(path))
    assert {e.name for e in load_extractors(inception_weights=path)} == {f"inception-{v}" for v in VARIANTS}
    extractor = load_inception(path)
    with torch.no_grad():
        expected = network(network_input(golden["images"], "clean"))
    torch.testing.assert_close(extractor(golden["images"]), expected)
    with pytest.raises(UserError, match="pool features only"):
        extractor.outputs(golden["images"])


def test_a_missing_file_is_named_with_its_place(tmp_path, monkeypatch):
    with pytest.raises(UserError) as error:
        load_inception()
    for part in ("pt_inception-2015-12-05-6726825d.pth", "hub/checkpoints", "https://", "--inception-weights"):
        assert part in str(error.value)
    monkeypatch.setenv("DBAE_WEIGHTS_DIR", str(tmp_path / "weights"))
    with pytest.raises(UserError, match=str(tmp_path / "weights" / "alexnet-owt-7be5be79.pth")):
        load_lpips()
    with pytest.raises(UserError, match=r"absent\.pth: no such file"):
        load_inception(tmp_path / "absent.pth")


def test_a_truncated_file_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setenv("DBAE_WEIGHTS_DIR", str(tmp_path))
    (tmp_path / "pt_inception-2015-12-05-6726825d.pth").write_bytes(b"half of it")
    with pytest.raises(UserError, match="should begin with 6726825d"):
        load_inception()


def test_other_weights_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"fc.weight": torch.zeros(1000, 2048)}, path)
    with pytest.raises(UserError, match="torchvision's Inception"):
        load_inception(path)
    torch.save({"fc.weight": torch.zeros(1008, 2048)}, path)
    with pytest.raises(UserError, match="565 of 566 tensors"):
        load_inception(path)
    with pytest.raises(UserError, match=r"features\.0\.weight"):
        load_lpips(path=path)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="state dict"):
        load_inception(path)
    path.write_bytes(b"no weights")
    with pytest.raises(UserError, match="could not read it"):
        load_inception(path)


@pytest.fixture(scope="module", params=["alex", pytest.param("vgg", marks=pytest.mark.slow)])
def lpips_model(request, tmp_path_factory) -> Lpips:
    """Trunk by rule G under the keys that lpips gives it, stored under torchvision's."""
    import_torchvision()
    import lpips

    # Only names and shapes are needed; torchvision deprecates the way lpips asks for them.
    with torch.device("meta"), warnings.catch_warnings(action="ignore", category=UserWarning):
        module = lpips.LPIPS(net=request.param, pnet_rand=True, pretrained=False, verbose=False)
    state = fill({key: value for key, value in module.state_dict().items() if key.startswith("net.")})
    path = tmp_path_factory.mktemp("lpips") / f"{request.param}.pth"
    torch.save({f"features.{key.split('.', 2)[2]}": value for key, value in state.items()}, path)
    return load_lpips(request.param, path)


@pytest.mark.golden
def test_lpips_is_the_reference(lpips_model):
    net = lpips_model.name.removeprefix("LPIPS-")
    expected = json.loads((GOLDEN / "metrics" / "recon.json").read_text())
    with np.load(GOLDEN / "metrics" / "recon_images.npz") as arrays:
        images = {k: 2 * torch.from_numpy(a).permute(0, 3, 1, 2).float() / 255 - 1 for k, a in arrays.items()}
    for kind in ("noise", "shift", "contrast", "other"):
        found = lpips_model(real=images["real"], fake=images[f"fake_{kind}"])
        np.testing.assert_allclose(found, expected[kind][f"lpips_{net}_G"], rtol=1e-4)
        pair = images["real"][:1], images[f"fake_{kind}"][:1]
        _, layers = lpips_model.module(*pair, retPerLayer=True)
        np.testing.assert_allclose(
            [float(layer) for layer in layers], expected[kind][f"lpips_{net}_G_per_layer_image0"], rtol=1e-4
        )
    assert not lpips_model(real=images["real"], fake=images["real"]).any()
    for name, head in expected["lpips_heads"][net].items():
        weight = getattr(lpips_model.module, name).model[1].weight
        assert float(weight.double().sum()) == pytest.approx(head["sum"], rel=1e-6)
        assert list(weight.shape) == head["shape"]


def test_loading_leaves_the_global_generator_alone(tmp_path):
    before = torch.get_rng_state()
    torch.save({}, tmp_path / "empty.pth")
    with pytest.raises(UserError):
        load_lpips(path=tmp_path / "empty.pth")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_has_every_input_convention_of_one_network(inception_file):
    found = load_extractors(inception_weights=inception_file)
    assert [e.name for e in found] == ["inception-clean", "inception-legacy_pytorch", "inception-tf1"]
    assert len({id(e.network) for e in found}) == 1
    assert len({e.fingerprint for e in found}) == 1


def test_clean_fid_itself_is_asked_in_every_run(inception_file, monkeypatch):
    import_torchvision()
    monkeypatch.setattr("cleanfid.resize.build_resizer", lambda mode: lambda image: np.zeros((299, 299, 3), np.float32))
    require_clean_fid_agrees.cache_clear()
    with pytest.raises(UserError, match="resized as by clean-fid"):
        load_extractors(inception_weights=inception_file)
