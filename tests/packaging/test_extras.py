"""Without its extra, a module says which line installs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ._project import pyproject

EXTRAS = {
    "probekit.starlette": "starlette",
    "probekit.flask": "flask",
    "probekit.checks.sqlalchemy": "sqlalchemy",
    "probekit.checks.redis": "redis",
    "probekit.fleet": "redis",
    "probekit.observe.prometheus": "prometheus",
}
PACKAGES = {"prometheus": "prometheus_client"}

IMPORT_WITHOUT = """
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
try:
    importlib.import_module({module!r})
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(("module", "extra"), EXTRAS.items())
def test_missing_extra_names_the_install_line(module: str, extra: str) -> None:
    """The error of an optional module ends with a line that can be pasted into a shell."""
    code = IMPORT_WITHOUT.format(package=PACKAGES.get(extra, extra), module=module)
    command = [sys.executable, "-I", "-c", code]
    message = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    assert message.startswith(f"{module} needs ")
    assert message.endswith(f"install it with: pip install 'probekit-health[{extra}]'")


def test_the_named_extras_exist() -> None:
    """What the errors tell people to install can be installed, also as ``all``."""
    extras = pyproject()["project"]["optional-dependencies"]
    [everything] = extras["all"]
    for extra in EXTRAS.values():
        assert extra in extras
        assert extra in everything.partition("[")[2].rstrip("]").split(",")
