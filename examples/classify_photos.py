"""Classify photographs by what a model knows of them: a folder with a sub-folder for each class.

    python examples/classify_photos.py photos

The encoder is used as it is; only a logistic regression is fitted. The built-in model knows no photographs: name a
checkpoint of yours as a second argument.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from baselines.transformer import ReprEncoder
from dbae.support.cli import script


def main(folder: str, ckpt: str = "builtin:dbae") -> float:
    """The share of images that is classified rightly, five-fold cross-validated."""
    files = sorted(path for path in Path(folder).glob("*/*") if path.is_file())
    classes = np.array([path.parent.name for path in files])
    z = ReprEncoder(ckpt).fit_transform(files)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    right = float(cross_val_score(classifier, z, classes, cv=5).mean())
    largest = np.unique(classes, return_counts=True)[1].max() / len(classes)
    print(f"{right:.1%} of {len(files)} images are classified rightly; the largest class alone gives {largest:.1%}")
    return right


if __name__ == "__main__":
    raise SystemExit(script(main))
