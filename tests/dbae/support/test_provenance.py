"""Which code and packages made a number."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dbae.support import provenance


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one committed file of code, taken for this one."""
    git(tmp_path, "init", "-q")
    (tmp_path / "dbae" / "support").mkdir(parents=True)
    (tmp_path / "dbae" / "support" / "provenance.py").write_text("x = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "dbae" / "support" / "provenance.py"))
    return tmp_path


def test_versions_are_those_installed():
    found = provenance.versions()
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__
    assert found["numpy"] == importlib.metadata.version("numpy")
    assert set(found) <= {"python", *provenance.PACKAGES}


def test_versions_import_nothing():
    script = "import sys; from dbae.support import provenance; provenance.versions(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_hardware_is_named(monkeypatch):
    told = provenance.hardware(torch.device("cpu"))
    threads = torch.get_num_threads()
    assert told.endswith(f", {threads} thread{'s' if threads > 1 else ''}")
    assert len(told.split(",")[0]) > 2
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    assert provenance.of_training(torch.device("cuda"))["hardware"] == "NVIDIA H100"


def test_packages_that_are_missing_are_left_out(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("torch", "no-such-package"))
    assert list(provenance.versions()) == ["python", "torch"]


def test_revision_of_a_checkout(checkout):
    head = git(checkout, "rev-parse", "HEAD")
    assert provenance.revision() == head[:12]
    (checkout / "README.md").write_text("not code")
    assert provenance.revision() == head[:12]
    (checkout / "dbae" / "support" / "provenance.py").write_text("x = 2\n")
    assert provenance.revision() == head[:12] + "+dirty"
    git(checkout, "commit", "-q", "-am", "second")
    (checkout / "dbae" / "new.py").touch()
    assert provenance.revision() == git(checkout, "rev-parse", "HEAD")[:12] + "+dirty"


def test_revision_without_a_checkout_or_git(tmp_path, monkeypatch):
    def version(name: str) -> str:
        if name != "dbae-bench":
            raise importlib.metadata.PackageNotFoundError
        return "1.2.3"

    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "dbae" / "support" / "provenance.py"))
    monkeypatch.setattr(importlib.metadata, "version", version)
    assert provenance.revision() == "v1.2.3"
    (tmp_path / ".git").mkdir()  # not a repository: git fails
    assert provenance.revision() == "v1.2.3"
    monkeypatch.setenv("PATH", str(tmp_path))  # no git at all
    assert provenance.revision() == "v1.2.3"


def test_revision_of_files_that_were_only_copied(tmp_path, monkeypatch):
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "dbae" / "support" / "provenance.py"))
    monkeypatch.setattr(importlib.metadata, "version", version)
    assert provenance.revision() == "unknown"
