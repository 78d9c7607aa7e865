"""What pyproject.toml cannot say: a wheel has the published tables, `results/paper`, inside the package `baselines`."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithTables(build_py):
    """Modules and package data, and the tables; an editable installation finds these where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copytree(ROOT / "results" / "paper", Path(self.build_lib, "baselines", "paper"), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithTables})
