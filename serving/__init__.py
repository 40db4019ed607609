"""Known and unknown people in camera footage, without torch."""

from importlib.util import find_spec
from pathlib import Path

_spec = find_spec("reid")
# Read and not imported: the package reid of somebody else, if it took our files' place, would load torch
# first and then fail elsewhere.
if (
    _spec is None
    or _spec.origin is None
    or "reid-pipeline" not in Path(_spec.origin).read_text(encoding="utf-8")
):
    _where = "missing" if _spec is None or _spec.origin is None else f"somebody else's ({_spec.origin})"
    raise ImportError(
        f"reid-pipeline's own package reid is {_where}: run `pip uninstall reid` and install "
        "reid-pipeline again"
    )
