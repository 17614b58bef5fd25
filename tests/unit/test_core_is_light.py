"""The core installs small: few packages, little disk, whatever else is installed beside it."""

import importlib.metadata as metadata
import re


def closure(name: str) -> set[str]:
    """Return the installed packages that `name` needs without extras."""
    found: set[str] = set()
    queue = [name]
    while queue:
        package = re.sub(r"[-_.]+", "-", queue.pop()).lower()
        if package in found:
            continue
        try:
            requires = metadata.requires(package) or []
        except metadata.PackageNotFoundError:
            continue  # for another Python or platform
        found.add(package)
        queue += [re.split(r"[ ;<>=!~\[(]", r)[0] for r in requires if "extra ==" not in r]
    return found


def test_the_core_needs_at_most_45_packages_and_250_megabytes() -> None:
    packages = closure("magicoder") - {"magicoder"}
    assert "pyarrow" in packages
    assert len(packages) <= 45, sorted(packages)
    size = sum(
        int(path.locate().stat().st_size)
        for package in packages
        for path in metadata.files(package) or []
        if path.locate().is_file()
    )
    assert size / 1e6 < 250
    assert not packages & {"numpy", "pandas", "httpx", "pydantic", "torch", "datasets"}
