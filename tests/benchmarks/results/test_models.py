"""Names that tell the models of a file apart, and finding models by words of them."""

from __future__ import annotations

from result_rows import row

from benchmarks.results.models import Model, counterparts, find, names_of, told_apart
from benchmarks.results.record import Record


def of(model: str, **cells) -> Record:
    return row(**{"protocol": "standard", "latent_dim": 32, "model": model, "weights": "control", **cells})


EARLY = of("faces", method="DBAE", variant="stochastic", train_data="x (25 images seen)", weights="trained",
            checkpoint_sha256="aaaa11")  # fmt: skip
LATE = of("faces", method="DBAE", variant="stochastic", train_data="x (50 images seen)", weights="trained",
           checkpoint_sha256="bbbb22")  # fmt: skip
AGAIN = of("faces", method="DBAE", variant="stochastic", train_data="x (50 images seen)", weights="trained",
            checkpoint_sha256="cccc33")  # fmt: skip
BARE = of("untrained", method="DBAE", variant="stochastic", checkpoint_sha256="4588ff")
BARE_DIFFAE = of("untrained", method="DiffAE", checkpoint_sha256="4cc3ff")
PCA, PREVALENCE = of("pca"), of("prevalence", latent_dim=None)


def test_names_show_what_sets_a_model_apart_and_no_more():
    assert list(names_of([EARLY, LATE, BARE, BARE_DIFFAE, PCA]).values()) == [
        "faces x (25 images seen)",
        "faces x (50 images seen)",
        "untrained DBAE 4588",
        "untrained DiffAE 4cc3",
        "pca",
    ]
    assert list(names_of([EARLY, PCA]).values()) == ["faces", "pca"]
    names = list(names_of([EARLY, LATE, AGAIN]).values())
    assert names == ["faces x (25 images seen)", "faces x (50 images seen) bbbb", "faces x (50 images seen) cccc"]
    assert list(names_of([PCA, of("pca", latent_dim=64)]).values()) == ["pca z of 32", "pca z of 64"]


def test_a_short_name_is_kept_where_no_other_of_the_data_set_has_it():
    rows = [EARLY, BARE, BARE_DIFFAE, PCA, of("pca", latent_dim=64, dataset="disks")]
    assert [row.model for row in told_apart(rows)] == [
        "faces",
        "untrained DBAE 4588",
        "untrained DiffAE 4cc3",
        "pca",
        "pca",
    ]
    assert [row.model for row in told_apart([EARLY, BARE, PCA])] == ["faces", "untrained", "pca"]


def test_data_sets_of_one_name_are_told_apart():
    rows = [of("pca", dataset="test", data_sha256=sha * 64) for sha in "ab"] + [of("pca", dataset="train")]
    assert [row.dataset for row in told_apart(rows)] == ["test aaaa", "test bbbb", "train"]


def test_models_are_found_by_name_by_words_and_by_hash():
    names = names_of([EARLY, LATE, AGAIN, BARE, BARE_DIFFAE, PCA])

    def found(text):
        return [model.checkpoint_sha256[:4] for model in find(text, names)]

    assert found("untrained") == ["4588", "4cc3"]
    assert found("untrained dbae") == found("untrained DBAE 4588") == found("4588") == ["4588"]
    assert found("faces 50") == ["bbbb", "cccc"]
    assert found("aaaa1") == ["aaaa"]
    assert found("trained") == ["aaaa", "bbbb", "cccc"]
    assert found("aaa") == found("nobody") == found("") == []


def test_a_whole_name_means_that_model_alone_in_any_case():
    named = of("DBAE", method="DBAE", weights="trained", checkpoint_sha256="dddd44")
    names = names_of([named, BARE, BARE_DIFFAE])
    for text in ("DBAE", "dbae", "Dbae"):
        assert find(text, names) == [Model.of(named)]
    assert find("UNTRAINED", names) == [Model.of(BARE), Model.of(BARE_DIFFAE)]
    assert find("Untrained dbae 4588", names) == [Model.of(BARE)]
    both = names_of([named, of("dbae", method="DBAE", weights="trained", checkpoint_sha256="eeee55")])
    assert [model.model for model in find("dbae", both)] == ["dbae"]


def test_of_several_baselines_a_model_has_that_of_its_method_and_a_control_all():
    bare = [Model.of(r) for r in (BARE, BARE_DIFFAE)]
    assert counterparts(Model.of(LATE), bare) == bare[:1]
    assert counterparts(Model.of(of("b", method="DiffAE", variant="other")), bare) == bare[1:]
    pca = [Model.of(PCA), Model.of(of("pca", latent_dim=160))]
    assert counterparts(Model.of(LATE), pca) == pca[:1]
    assert counterparts(Model.of(PCA), bare) == counterparts(Model.of(PREVALENCE), bare) == bare
