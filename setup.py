"""A wheel holds a copy of what a clone has beside the package; the rest is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BUNDLED = ("Snakefile", "requirements.lock", "workflow", "profiles", "shared")


class BuildWithCatalogue(build_py):
    """Copies the catalogue, the rules and the profiles to ``phasewise/bundled``."""

    def run(self):
        super().run()
        if self.editable_mode:  # then the clone itself is used
            return
        target = Path(self.build_lib) / "phasewise" / "bundled"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in BUNDLED:
            if Path(name).is_file():
                shutil.copy(name, target)
            else:
                ignored = shutil.ignore_patterns("phasewise", "*.egg-info", "__pycache__", ".*")
                shutil.copytree(name, target / name, ignore=ignored)


setup(cmdclass={"build_py": BuildWithCatalogue})
