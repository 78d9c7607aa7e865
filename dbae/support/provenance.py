"""Which code and which packages made a number."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

CODE = ("dbae", "baselines", "benchmarks")
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on (those installed), without importing them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def revision() -> str:
    """Git revision of this code ("+dirty" if it has uncommitted changes); without a checkout, the version."""
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        try:
            head = _git(root, "rev-parse", "--short=12", "HEAD")
            return head + ("+dirty" if _git(root, "status", "--porcelain", "--", *CODE) else "")
        except (OSError, subprocess.CalledProcessError):
            pass
    try:
        return "v" + metadata.version("dbae-bench")
    except metadata.PackageNotFoundError:
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
