from __future__ import annotations

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN

from benchmarks.metrics import precision_recall
from benchmarks.metrics.frechet import Gaussian, frechet_distance, inception_score, kernel_distance
from benchmarks.metrics.precision_recall import neighbours


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "metrics" / "dist.npz") as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def expected():
    return json.loads((GOLDEN / "metrics" / "dist.json").read_text())


def gaussian(n: int, d: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return torch.from_numpy(scale * np.random.RandomState(seed).standard_normal((n, d)).astype(np.float32))


@pytest.mark.golden
def test_frechet_distance_is_that_of_the_references(golden, expected):
    full = frechet_distance(real=golden["ref"], fake=golden["smp"])
    low = frechet_distance(real=golden["lo1"], fake=golden["lo2"])
    for name in ("guided", "cleanfid", "torchfidelity"):
        assert full == pytest.approx(expected[f"fid_{name}"], rel=1e-6)
        assert low == pytest.approx(expected[f"fid_{name}_lowN"], rel=1e-6)
    assert full == pytest.approx(expected["fid_exact_f64"], rel=1e-10)
    assert low == pytest.approx(expected["fid_exact_f64_lowN"], rel=1e-10)
    assert frechet_distance(real=golden["ref"], fake=golden["ref"]) == pytest.approx(
        expected["fid_self_cleanfid"], abs=1e-10
    )


@pytest.mark.golden
def test_kernel_distance_is_that_of_the_references(golden, expected):
    one = kernel_distance(real=golden["ref"][:350], fake=golden["smp"], subsets=1)
    assert one.mean == pytest.approx(expected["kid_cleanfid_full350"], abs=2e-6)
    assert one.mean == pytest.approx(expected["kid_torchfidelity_full350"], abs=2e-6)
    found = kernel_distance(real=golden["ref"], fake=golden["smp"], seed=0)
    assert found.mean == pytest.approx(expected["kid_cleanfid_seed0_subsets100"], abs=2e-6)


@pytest.mark.golden
def test_inception_score_is_that_of_the_references(golden, expected):
    logits = golden["smp"] @ golden["softmax_w"]
    assert inception_score(logits) == pytest.approx(expected["is_split5000"], abs=1e-5)
    assert inception_score(logits, split_size=100) == pytest.approx(expected["is_split100"], abs=1e-5)
    assert inception_score(logits, split_size=350) == pytest.approx(expected["isc_torchfidelity_1split"], abs=1e-5)
    ten = inception_score(logits, split_size=35)
    assert ten == pytest.approx(expected["isc_torchfidelity_10splits_noshuffle"], abs=1e-5)
    order = np.random.RandomState(2020).permutation(350)
    shuffled = inception_score(logits[order], split_size=35)
    assert shuffled == pytest.approx(expected["isc_torchfidelity_10splits_shuffle2020"], abs=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("k", [3, 5])
def test_neighbours_are_those_of_prdc(golden, expected, k):
    found = neighbours(real=golden["ref"], fake=golden["smp"], k=k, k_density=k)
    for name, value in expected[f"prdc_k{k}"].items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-12), name


@pytest.mark.golden
def test_precision_and_recall_are_those_of_guided_diffusion(golden, expected):
    found = neighbours(real=golden["ref"], fake=golden["smp"])
    assert (found.precision, found.recall) == (expected["precision_fp32"], expected["recall_fp32"])
    assert (found.precision, found.recall) == tuple(expected["precision_recall_own_float64"])
    assert expected["torchfidelity_precision_recall"] == pytest.approx([found.precision, found.recall], abs=1e-6)
    half = neighbours(real=golden["ref"], fake=golden["smp"], half=True)
    assert half.precision == pytest.approx(expected["precision_fp16"], abs=0.006)
    assert half.recall == pytest.approx(expected["recall_fp16"], abs=0.006)
    scaled = neighbours(real=golden["ref"] * 1000, fake=golden["smp"] * 1000, half=True)  # overflows, so float32
    assert (scaled.precision, scaled.recall) == (expected["precision_fp32"], expected["recall_fp32"])


@pytest.mark.golden
@pytest.mark.parametrize("name", ["ref", "smp"])
def test_radii_are_those_of_guided_diffusion(golden, name):
    x = golden[name].double()
    (found,) = precision_recall._radii(x, (3,), precision_recall._distances)
    scale = float(x.square().sum(dim=1).max())  # what the reference rounds in either precision are the norms
    np.testing.assert_allclose(found * 1e6, golden[f"radii_{name}_fp32"], rtol=0, atol=4e6 * scale * 2**-23)
    (half,) = precision_recall._radii(golden[name], (3,), precision_recall._half_distances)
    np.testing.assert_allclose(half, golden[f"radii_{name}_fp16"], rtol=0, atol=4 * scale * 2**-10)


@pytest.mark.parity
@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 32), (40, 60, 96)])
def test_frechet_distance_is_the_square_root_of_scipy(n, m, d):
    from scipy import linalg

    real, fake = gaussian(n, d).double(), gaussian(m, d, 1, 1.3).double() + 0.2
    s1, s2 = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    root = linalg.sqrtm(s1 @ s2)
    expected = (real.mean(0) - fake.mean(0)).square().sum() + np.trace(s1) + np.trace(s2) - 2 * np.trace(root).real
    assert frechet_distance(real=real, fake=fake) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")
def test_distances_are_those_of_clean_fid():
    from benchmarks.extractors.torchvision_shim import import_torchvision

    import_torchvision()
    from cleanfid import fid

    real, fake = gaussian(300, 48), gaussian(250, 48, 1, 1.2)
    moments = [(x.double().numpy().mean(0), np.cov(x.double(), rowvar=False)) for x in (real, fake)]
    expected = fid.frechet_distance(*moments[0], *moments[1])
    assert frechet_distance(real=real, fake=fake) == pytest.approx(expected, rel=1e-9)

    state = np.random.get_state()
    np.random.seed(3)
    kid = fid.kernel_distance(real.double().numpy(), fake.double().numpy(), num_subsets=7, max_subset_size=100)
    np.random.set_state(state)
    found = kernel_distance(real=real.double(), fake=fake.double(), subsets=7, subset_size=100, seed=3)
    assert found.mean == pytest.approx(kid, abs=1e-12)


def test_frechet_distance_of_gaussians_is_the_closed_form():
    """Diagonal covariances: sum (m_1 - m_2)^2 + (s_1 - s_2)^2."""
    one, two = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([3.0, 0.5, 0.0])
    found = frechet_distance(
        real=Gaussian(torch.zeros(3).double(), torch.diag(one).double()),
        fake=Gaussian(torch.ones(3).double(), torch.diag(two).double()),
    )
    assert found == pytest.approx(3 + 4 + 2.25, rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(5, 7), (5, 200), (200, 5), (64, 64), (2, 2)])
def test_frechet_distance_is_finite_symmetric_and_zero_for_copies(n, m):
    real, fake = gaussian(n, 64), gaussian(m, 64, 1)
    found = frechet_distance(real=real, fake=fake)
    assert np.isfinite(found)
    assert found > 0
    assert frechet_distance(real=fake, fake=real) == pytest.approx(found, rel=1e-9)
    assert frechet_distance(real=real, fake=real.flip(0)) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_survives_constant_features_and_large_offsets():
    real, fake = gaussian(200, 16), gaussian(200, 16, 1)
    expected = frechet_distance(real=real, fake=fake)
    offset = frechet_distance(real=real.double() + 1e6, fake=fake.double() + 1e6)
    assert offset == pytest.approx(expected, rel=1e-6)
    real[:, 3] = fake[:, 3] = 7.0
    assert np.isfinite(frechet_distance(real=real, fake=fake))


@pytest.mark.parity
@pytest.mark.parametrize("decay", [0, 1.5, 4])
def test_frechet_distance_keeps_its_digits_whatever_the_spectrum(decay):
    """Against singular values of the centred features themselves; 4 leaves nothing to eigenvalues of their squares."""
    d, n = 128, 500
    order = np.random.RandomState(5).permutation(d)
    scale = torch.from_numpy(np.arange(1, d + 1.0)[order] ** (-decay / 2))
    real, fake = gaussian(n, d).double() * scale, gaussian(n, d, 1, 1.1).double() * scale
    a, b = ((x - x.mean(dim=0)) / np.sqrt(n - 1) for x in (real, fake))
    spread = a.square().sum() + b.square().sum()
    cross = torch.linalg.svdvals(torch.linalg.qr(a).R @ torch.linalg.qr(b).R.T).sum()
    expected = (real.mean(dim=0) - fake.mean(dim=0)).square().sum() + spread - 2 * cross
    assert frechet_distance(real=real, fake=fake) == pytest.approx(float(expected), rel=0, abs=1e-10 * float(spread))


def test_eigenvalues_are_taken_only_where_they_keep_the_digits(monkeypatch):
    real, fake = gaussian(300, 32).double(), gaussian(300, 32, 1).double()
    with monkeypatch.context() as patch:
        patch.setattr(torch.linalg, "svdvals", lambda p: pytest.fail("singular values of a regular matrix"))
        frechet_distance(real=real, fake=fake)
    real[:, 3] = real[:, 4]
    monkeypatch.setattr(torch.linalg, "eigvalsh", lambda p: torch.full((len(p),), torch.nan))
    assert np.isfinite(frechet_distance(real=real, fake=fake))


def cubic_kernel_distance(x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Unbiased MMD^2 of all rows in float64, term by term, and the size of its terms."""
    x, y, m = x.double(), y.double(), len(x)
    xx, yy, xy = ((a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = (xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (m * (m - 1))
    return float(within - 2 * xy.mean()), float(xy.mean())


@pytest.mark.parity
@pytest.mark.parametrize("offset", [0, 10, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_distance_far_from_the_origin(offset, dtype):
    """Float32 products lose digits of the distance there; terms of float64 have 1e-14 of their size to lose."""
    real, fake = (gaussian(600, 64, seed).to(dtype) + offset for seed in (0, 1))
    expected, terms = cubic_kernel_distance(fake, real)
    found = kernel_distance(real=real, fake=fake, subsets=1)
    assert found.mean == pytest.approx(expected, rel=0, abs=1e-8 + 1e-14 * terms)
    assert found.std == 0


def test_every_pair_once_or_for_each_subset_is_the_same_distance():
    real, fake = gaussian(400, 16), gaussian(300, 16, 1, 1.1)
    state = np.random.RandomState(2)
    expected = []
    for _ in range(30):
        x, y = (part[state.choice(len(part), 50, replace=False)] for part in (fake, real))
        expected.append(cubic_kernel_distance(x, y)[0])
    for subsets in (30, 3):  # 30 subsets have more pairs than there are, 3 have fewer
        found = kernel_distance(real=real, fake=fake, subsets=subsets, subset_size=50, seed=2)
        assert found.mean == pytest.approx(np.mean(expected[:subsets]), rel=0, abs=1e-8)
        assert found.std == pytest.approx(np.std(expected[:subsets]), rel=0, abs=1e-8)


def test_inception_score_ends():
    sharp = 1e4 * torch.eye(10)  # a probability of zero in float32
    assert inception_score(sharp) == pytest.approx(10, rel=1e-12)
    assert inception_score(torch.ones(10, 5)) == pytest.approx(1, rel=1e-12)


def test_mode_collapse_is_precise_and_recalls_little():
    """Fake images from one of two modes: exchanging real and fake must exchange the metrics."""
    modes = torch.cat([gaussian(200, 8) - 10, gaussian(200, 8, 1) + 10])
    collapsed = gaussian(200, 8, 2) - 10
    found = neighbours(real=modes, fake=collapsed)
    assert found.precision > 0.85
    assert 0.4 < found.recall <= 0.5
    assert 0.45 < found.coverage <= 0.5
    assert found.density == pytest.approx(1, abs=0.15)
    swapped = neighbours(real=collapsed, fake=modes)
    assert (swapped.precision, swapped.recall) == (found.recall, found.precision)


def test_real_and_fake_are_named():
    x = gaussian(10, 2)
    for function in (neighbours, frechet_distance, kernel_distance):
        with pytest.raises(TypeError):
            function(x, x)


def test_copies_and_near_copies():
    """A set against its copy, far from the origin, where |u|^2 - 2 u.v + |v|^2 has lost every digit of |u - v|^2."""
    real = gaussian(300, 32).double() + 1e4
    jitter = 1e-6 * gaussian(300, 32, 1).double()
    for fake in (real.clone(), real + jitter):
        found = neighbours(real=real, fake=fake)
        assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    one = real[:1] + jitter  # every fake image is (almost) the same real one
    memorised = neighbours(real=real, fake=one)
    assert memorised.precision == 1
    assert memorised.recall == pytest.approx(1 / 300, abs=1e-12)
    block = precision_recall._distances(real - real.mean(0), real + jitter - real.mean(0))
    np.testing.assert_allclose(block.diagonal(), (real + jitter - real).square().sum(dim=1), rtol=1e-4)


def test_blocks_do_not_change_the_result(golden, monkeypatch):
    whole = neighbours(real=golden["ref"], fake=golden["smp"])
    for name, value in {"_SYMMETRIC": 64, "_ROWS": 7, "_BLOCK_BYTES": 8 * 350 * 7}.items():
        monkeypatch.setattr(precision_recall, name, value)
    assert neighbours(real=golden["ref"], fake=golden["smp"]) == whole
    monkeypatch.setattr(precision_recall, "_OPEN", -1)
    assert neighbours(real=golden["ref"], fake=golden["smp"]) == whole


def lattice(n: int, seed: int) -> torch.Tensor:
    """Points of which many are at equal distances, so that balls have others on their rim."""
    return torch.from_numpy(np.random.RandomState(seed).randint(0, 4, (n, 5)).astype(np.float32))


CLOUDS = {
    "gaussian": lambda seed: gaussian(500, 256, seed),
    "few dimensions": lambda seed: gaussian(500, 3, seed),
    "one dimension": lambda seed: gaussian(60, 1, seed),
    "shifted": lambda seed: gaussian(500, 64, seed) + 100 + 0.1 * seed,
    "tiny": lambda seed: gaussian(500, 32, seed).double() * 1e-120,
    "huge": lambda seed: gaussian(500, 32, seed).double() * 1e120,
    "outlier": lambda seed: torch.cat([gaussian(400, 32, seed), 1e4 * gaussian(1, 32, seed + 7)]),
    "lattice": lambda seed: lattice(300, seed),
    "modes": lambda seed: torch.cat([gaussian(150, 16, seed), gaussian(150, 16, seed + 7) * 1e-3 + 5]),
    "smallest": lambda seed: gaussian(6, 4, seed),
    "one point": lambda seed: torch.zeros(20, 4),
}


@pytest.mark.parametrize("name", CLOUDS)
def test_float32_gives_the_same_answers(monkeypatch, name):
    real, fake = (CLOUDS[name](seed) for seed in (0, 1))
    found = neighbours(real=real, fake=fake)
    calls = []
    with monkeypatch.context() as patch:
        patch.setattr(precision_recall, "_mostly_float32", lambda *_: calls.append(1))
        exact = neighbours(real=real, fake=fake)
    assert calls == [1]
    assert found == exact
    monkeypatch.setattr(precision_recall, "_OPEN", np.inf)  # however much is left open
    assert neighbours(real=real, fake=fake) == exact


def test_float32_decides_most_and_says_where_it_does_not(monkeypatch):
    quick = precision_recall._mostly_float32
    real, fake = (gaussian(500, 64, seed).double() for seed in (0, 1))
    largest = max(float(x.square().sum(dim=1).max()) for x in (real, fake))
    assert quick(real, fake, 3, 5, largest) is not None
    rows = []
    distances = precision_recall._distances
    monkeypatch.setattr(precision_recall, "_distances", lambda u, v: (rows.append(len(u)), distances(u, v))[1])
    quick(real, fake, 3, 5, largest)
    assert sum(rows) < 0.1 * 1500  # of all balls
    copies = real[:50].repeat(10, 1)
    assert quick(copies, copies, 3, 5, largest) is None


def test_order_does_not_change_the_result(golden):
    whole = neighbours(real=golden["ref"], fake=golden["smp"])
    assert neighbours(real=golden["ref"].flip(0), fake=golden["smp"].flip(0)) == whole
    plain = frechet_distance(real=golden["ref"], fake=golden["smp"])
    assert frechet_distance(real=golden["ref"].flip(0), fake=golden["smp"]) == pytest.approx(plain, rel=1e-10)


def test_refuses_what_it_cannot_measure():
    x = gaussian(5, 3)
    with pytest.raises(ValueError, match="6 images"):
        neighbours(real=x, fake=x)
    with pytest.raises(ValueError, match="two images"):
        frechet_distance(real=x[:1], fake=x)
    with pytest.raises(ValueError, match="two images"):
        kernel_distance(real=x[:1], fake=x)
    bad = x.clone()
    bad[0, 0] = torch.nan
    with pytest.raises(ValueError, match="finite"):
        frechet_distance(real=bad, fake=x)
    with pytest.raises(ValueError, match="finite"):
        neighbours(real=bad.repeat(2, 1), fake=x.repeat(2, 1))
    with pytest.raises(ValueError, match="dimensions"):
        frechet_distance(real=Gaussian.of_features(x), fake=Gaussian.of_features(gaussian(5, 4)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("function", "real", "said"),
    [
        (kernel_distance, gaussian(9, 3) * torch.nan, "finite"),
        (kernel_distance, gaussian(9, 3).int(), "floats of one dtype, got torch.int32"),
        (kernel_distance, gaussian(9, 3).double(), "got torch.float64 and torch.float32"),
        (kernel_distance, gaussian(9, 4), "4 and 3 dimensions"),
        (neighbours, gaussian(9, 4), "4 and 3 dimensions"),
        (neighbours, gaussian(9, 3).double() * 1e200, "squared distances"),
        (partial(neighbours, half=True), gaussian(9, 3).double() * 1e30, "squared distances"),
    ],
)
def test_refuses_features_that_cannot_be_compared(function, real, said):
    with pytest.raises(ValueError, match=said):
        function(real=real, fake=gaussian(9, 3))


def test_inception_score_needs_images():
    with pytest.raises(ValueError, match="got none"):
        inception_score(torch.zeros(0, 10))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_no_score_of_logits_that_are_not_finite(bad):
    logits = gaussian(8, 10)
    logits[3, 1] = bad
    with pytest.raises(ValueError, match="logits must be finite"):
        inception_score(logits)


@pytest.mark.parametrize("shape", [(9, 3), (3, 9)])
@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_no_distance_of_features_that_are_too_large(distance, shape):
    x = gaussian(*shape).double()
    for real, fake in ((1e200 * x, x), (x, 1e200 * x), (1e200 * x, 1e200 * x.flip(0))):
        with pytest.raises(ValueError, match=r"products? of features must be finite|squares of features must be"):
            distance(real=real, fake=fake)
    assert math.isfinite(frechet_distance(real=1e60 * x, fake=x))
