from __future__ import annotations

import json

import numpy as np
import pytest
from golden_fill import GOLDEN

from benchmarks.metrics import disentanglement as dis
from benchmarks.metrics.auroc import auroc_exact, auroc_sweep, sweep_areas


def load(name: str) -> tuple[dict[str, np.ndarray], dict]:
    with np.load(GOLDEN / "metrics" / f"tad_{name}.npz") as arrays:
        return dict(arrays), json.loads((GOLDEN / "metrics" / "tad.json").read_text())[name]


@pytest.fixture(scope="module", params=["a", "b"])
def case(request):
    return request.param, *load(request.param)


@pytest.mark.golden
def test_scores_are_the_references(case):
    name, golden, _ = case
    z, y = golden["z"], golden["y"]
    np.testing.assert_allclose(auroc_sweep(z, y), golden["auroc_sweep"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(auroc_exact(z, y)[0], golden["auroc_exact"], rtol=0, atol=1e-6)
    if name == "b":
        areas = np.stack([golden["area_pos"], golden["area_neg"]])
        np.testing.assert_allclose(sweep_areas(z, y), areas, rtol=0, atol=1e-6)


@pytest.mark.golden
def test_tad_and_attrs_are_the_references(case):
    _, golden, expected = case
    sweep, exact = (dis.tad(golden["z"], golden["y"], auroc=kind) for kind in ("sweep", "exact"))
    assert sweep.tad == pytest.approx(expected["tad_sweep"], abs=1e-5)
    assert sweep.attrs == expected["attrs_sweep"]
    assert exact.tad == pytest.approx(expected["tad_exact"], abs=1e-5)
    assert exact.attrs == expected["attrs_exact"]


@pytest.mark.golden
def test_entropy_filter_and_captures_are_the_references():
    golden, expected = load("a")
    np.testing.assert_allclose(dis.mutual_information(golden["y"]), golden["mi"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(dis.redundancy(golden["y"]), golden["ent_red"], rtol=0, atol=1e-6)
    found = dis.tad(golden["z"], golden["y"], auroc="sweep")
    np.testing.assert_array_equal(found.captured, golden["captured_sweep"])
    np.testing.assert_array_equal(np.flatnonzero(found.captured), expected["captured_sweep"])
    np.testing.assert_array_equal(np.flatnonzero(found.redundancy > 0.2), expected["ent_red_over_0.2"])
    np.testing.assert_allclose(found.best - found.next, golden["top_diff_sweep"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.dimension, golden["argmax_sweep"])


def draw(n: int, d: int, a: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, d)).astype(np.float32)
    shift = rng.uniform(-1, 1, a)
    y = (z[:, np.arange(a) % d] + 0.4 * rng.standard_normal((n, a)) > shift).astype(np.int8)
    return z, y


@pytest.mark.parity
def test_exact_auroc_is_that_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    z, y = draw(300, 5, 4)
    z[:, 2] = z[:, 2].round(0)  # ties
    found = auroc_exact(z, y)[0]
    for a in range(4):
        for d in range(5):
            auc = roc_auc_score(y[:, a], z[:, d])
            assert found[a, d] == pytest.approx(max(auc, 1 - auc), abs=1e-12)


def test_weights_are_repeated_images():
    z, y = draw(50, 3, 2)
    z = z.round(1)
    weights = np.random.default_rng(1).integers(0, 4, 50)
    repeated = np.repeat(np.arange(50), weights)
    found = auroc_exact(z, y, weights[None].astype(float))[0]
    np.testing.assert_allclose(found, auroc_exact(z[repeated], y[repeated])[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        dis.redundancy(y, weights.astype(float)), dis.redundancy(y[repeated]), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("kind", ["sweep", "exact"])
def test_order_of_images_and_dimensions_does_not_matter(kind):
    z, y = draw(400, 6, 5)
    rng = np.random.default_rng(3)
    rows, columns = rng.permutation(400), rng.permutation(6)
    plain = dis.tad(z, y, auroc=kind)
    mixed = dis.tad(z[rows][:, columns], y[rows], auroc=kind)
    assert mixed.tad == pytest.approx(plain.tad, abs=1e-12)
    assert mixed.attrs == plain.attrs
    np.testing.assert_array_equal(columns[mixed.dimension], plain.dimension)


def test_exact_scores_ignore_sign_and_monotone_maps():
    z, y = draw(300, 4, 3)
    expected = auroc_exact(z, y)
    np.testing.assert_allclose(auroc_exact(-z, y), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(auroc_exact(np.exp(z.astype(float)), y), expected, rtol=0, atol=1e-12)


def test_sweep_depends_on_scale_through_its_guard_only():
    z, y = draw(500, 4, 3)
    np.testing.assert_allclose(auroc_sweep(4 * z, y), auroc_sweep(z, y), rtol=0, atol=1e-9)
    assert (auroc_sweep(z / 1000, y) == 0.5).all()
    np.testing.assert_allclose(auroc_sweep(z / 1024, y, range_guard=0.0), auroc_sweep(z, y), rtol=0, atol=1e-9)


def test_sweep_is_biased_upwards():
    rng = np.random.default_rng(5)
    z = rng.standard_t(2, (1000, 16)).astype(np.float32)
    y = rng.integers(0, 2, (1000, 4)).astype(np.int8)
    assert (auroc_sweep(z, y) - auroc_exact(z, y)[0]).mean() > 0.03


def test_one_class_attributes_are_left_out(caplog):
    z, y = draw(200, 4, 4)
    y[:, 1], y[:, 2] = 0, 1
    with caplog.at_level("WARNING"):
        found = dis.tad(z, y)
    assert "[1, 2]" in caplog.text
    assert not found.captured[1:3].any()
    assert np.isnan(found.best[1:3]).all()
    assert found.tad == pytest.approx(dis.tad(z, y[:, [0, 3]]).tad, abs=1e-12)
    sweep = dis.tad(z, y, auroc="sweep")
    assert np.isfinite(sweep.tad)
    assert not sweep.captured[1:3].any()


def test_one_dimension_has_no_rival():
    z, y = draw(200, 1, 1)
    found = dis.tad(z, y)
    assert found.next[0] == 0
    assert found.tad == pytest.approx(found.best[0])


def test_protocols():
    z, y = draw(1500, 6, 5)
    draws = [dis.tad(z[rows], y[rows], auroc="sweep") for rows in dis.paper_rows(len(z))]
    assert [r.n for r in draws] == [1000] * 5
    assert len({r.tad for r in draws}) == 5
    tad, attrs = dis.summaries(draws)
    assert tad.value == pytest.approx(np.mean([r.tad for r in draws]))
    assert tad.stderr == pytest.approx(np.std([r.tad for r in draws], ddof=1) / 5**0.5)
    assert attrs.value == np.mean([r.attrs for r in draws])
    assert [r.n for r in dis.infodiffusion_folds(z, y)] == [1200] * 5


@pytest.mark.parity
def test_folds_are_what_scikit_learn_makes_of_standardised_codes():
    """The rows, the standardisation and the score of InfoDiffusion's evaluation, by scikit-learn."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import KFold
    from sklearn.preprocessing import StandardScaler

    z, y = draw(300, 3, 2)
    for found, (rows, _) in zip(
        dis.infodiffusion_folds(z, y), KFold(5, shuffle=True, random_state=0).split(z), strict=True
    ):
        scaled = StandardScaler().fit_transform(z[rows])
        auc = np.array([[roc_auc_score(y[rows, a], scaled[:, d]) for d in range(3)] for a in range(2)])
        np.testing.assert_allclose(found.best, np.maximum(auc, 1 - auc).max(axis=1), rtol=0, atol=1e-12)


def test_bootstrap_knows_the_spread_of_other_test_sets():
    """Its standard error is that of fresh sets of the same size, and its interval holds their values."""
    z, y = draw(40_000, 4, 4)
    fresh = np.array([dis.tad(z[i : i + 1000], y[i : i + 1000]).tad for i in range(1000, 40_000, 1000)])
    tad, attrs = dis.bootstrap(z[:1000], y[:1000], resamples=100)
    assert tad.low is not None
    assert tad.high is not None
    assert tad.low < tad.value < tad.high
    assert tad.low < fresh.mean() < tad.high
    assert tad.stderr == pytest.approx(fresh.std(ddof=1), rel=0.4)
    assert attrs.value == 4


def test_an_interval_holds_the_number_itself():
    """Of small sets of images, some of whose resamples capture other attributes than they do."""
    left_out = 0
    for seed in range(20):
        z, y = draw(24, 3, 12, seed=seed)
        for found in dis.bootstrap(z, y, resamples=60):
            low, high = np.quantile(found.drawn, [0.025, 0.975], method="inverted_cdf")
            left_out += not low <= found.value <= high
            assert found.low <= found.value <= found.high
    assert left_out


def test_bootstrap_has_its_own_generator():
    z, y = draw(300, 4, 4)
    assert dis.bootstrap(z, y, resamples=5) == dis.bootstrap(z, y, resamples=5)


def test_refuses_other_labels():
    z, y = draw(20, 2, 2)
    with pytest.raises(ValueError, match="0 or 1"):
        dis.tad(z, y + np.int8(1))
    with pytest.raises(ValueError, match="finite"):
        dis.tad(z * np.float32(np.nan), y)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("score", [auroc_exact, auroc_sweep, sweep_areas])
def test_scores_refuse_what_they_cannot_rank(score):
    z, y = draw(20, 2, 2)
    with pytest.raises(ValueError, match=r"0 or 1, found \[-1  1\]"):
        score(z, 2 * y - np.int8(1))
    with pytest.raises(ValueError, match="19 codes and 20 rows of labels"):
        score(z[1:], y)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            score(np.where(np.arange(20)[:, None] == 3, np.float32(bad), z), y)


@pytest.mark.parametrize("scale", [1e39, 2e38])
def test_sweep_refuses_what_float32_cannot_hold(scale):
    """Codes of the second size fit, but not their range."""
    z, y = draw(20, 2, 2)
    codes = np.sign(z).astype(np.float64) * scale
    assert np.isfinite(dis.tad(codes, y).tad)
    with pytest.raises(ValueError, match="finite in float32"):
        dis.tad(codes, y, auroc="sweep")
