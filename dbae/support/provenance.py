"""Which code, which packages and which machine made a number."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

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


def of_training(device: torch.device) -> dict[str, str]:
    """What a checkpoint's card says of how it was trained: versions, the revision of the code, the hardware."""
    return versions() | {"revision": revision(), "hardware": hardware(device)}


def hardware(device: torch.device) -> str:
    """The name of a GPU, or that of the processor and how many threads there are ("AMD EPYC 9654, 2 threads")."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} {'thread' if threads == 1 else 'threads'}"


def _processor() -> str:
    """Its model where the system tells, else its architecture."""
    told = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", told.read_text(), re.MULTILINE) if told.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


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
