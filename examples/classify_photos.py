"""Classify photographs by what a model knows of them: a folder with a sub-folder for each class.

    python examples/classify_photos.py photos

The encoder is used as it is; only a logistic regression is fitted. The built-in model knows no photographs: name a
checkpoint of yours as a second argument.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from baselines.transformer import ReprEncoder
from dbae.support.cli import script
from dbae.support.errors import UserError

FOLDS = 5
"""Of the cross-validation: every image is classified once, by what the other folds taught."""


def main(folder: str, ckpt: str = "builtin:dbae") -> float:
    """The share of images that is classified rightly, cross-validated."""
    files = sorted(path for path in Path(folder).glob("*/*") if path.is_file())
    classes = np.array([path.parent.name for path in files])
    counts = Counter(classes.tolist())
    if len(counts) < 2 or min(counts.values()) < FOLDS:
        found = ", ".join(f"{name} ({count})" for name, count in counts.items()) or "none"
        raise UserError(f"{folder}: expected two or more folders of {FOLDS} or more images each, found {found}.")
    z = ReprEncoder(ckpt).fit_transform(files)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    right = float(cross_val_score(classifier, z, classes, cv=FOLDS).mean())
    largest = max(counts.values()) / len(classes)
    print(f"{right:.1%} of {len(files)} images are classified rightly; the largest class alone gives {largest:.1%}")
    return right


if __name__ == "__main__":
    raise SystemExit(script(main))
