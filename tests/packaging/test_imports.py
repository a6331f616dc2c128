from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires

import pytest

PRINT_NEW_MODULES = """
import sys
before = set(sys.modules)
import {module}
print(*{{name.partition(".")[0] for name in set(sys.modules) - before}})
"""


def loaded_by(module: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter loads for ``module``."""
    code = PRINT_NEW_MODULES.format(module=module)
    command = [sys.executable, "-I", "-c", code]
    return set(subprocess.run(command, capture_output=True, check=True, text=True).stdout.split())


def packages_of_anyio() -> set[str]:
    """Return the packages that come with anyio itself, without its extras."""
    requirements = [line for line in requires("anyio") or [] if "extra ==" not in line]
    names = {re.split(r"[^\w-]", line)[0].lower() for line in requirements} | {"anyio"}
    names.add("sniffio")  # anyio asks it, where it is installed, who runs the loop
    return {
        package
        for package, distributions in packages_distributions().items()
        if any(name.lower() in names for name in distributions)
    }


@pytest.mark.parametrize("module", ["probekit", "probekit.asgi"])
def test_loads_anyio_and_the_standard_library_only(module: str) -> None:
    """Who imports the core pays for no framework, driver or metrics library."""
    foreign = loaded_by(module) - sys.stdlib_module_names - packages_of_anyio()
    assert foreign == {"probekit"}


@pytest.mark.parametrize("module", ["probekit.cli", "probekit.__main__"])
def test_the_command_loads_the_standard_library_only(module: str) -> None:
    """A preStop hook waits for it to start, so it brings no event loop with it."""
    assert loaded_by(module) - sys.stdlib_module_names == {"probekit"}


def test_a_foreign_package_is_seen() -> None:
    """The comparison finds a package that is neither anyio's nor the standard library's."""
    assert "pytest" in loaded_by("pytest") - sys.stdlib_module_names - packages_of_anyio()
