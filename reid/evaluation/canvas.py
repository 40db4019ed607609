"""One look for all pictures: colours told apart by colour-blind readers, few lines, equal bytes for equal
data.
"""

import logging
from pathlib import Path
from typing import Any

from reid.errors import UsageError
from reid.files import atomic_path

__all__ = ["COLOURS", "DASHES", "GREY", "INK", "MARKERS", "RIGHT", "WRONG", "new_figure", "save", "style"]

# Okabe and Ito's palette, darkest first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555", "#8C6D1F")
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, GREY = "#222222", "#888888"
RIGHT, WRONG = "#00795C", "#C44601"

_SUFFIXES = (".png", ".svg")
_DPI = 150


def new_figure(width: float = 7.0, height: float = 4.4) -> Any:
    """A Matplotlib figure of that size in inches, outside pyplot's global state."""
    # It says at its first start that it builds a cache of fonts, between our own lines.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")


def style(axes: Any, title: str, x: str, y: str) -> None:
    """Title, axis names, and the house's lines and ticks."""
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=10)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, length=3)
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def save(figure: Any, path: Path | str) -> None:
    """Write the figure as its suffix says.

    Raises:
        UsageError: the suffix is neither .png nor .svg.
    """
    import matplotlib as mpl

    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise UsageError(
            f"picture {path}: suffix {path.suffix!r} is unknown, want one of {', '.join(_SUFFIXES)}"
        )
    for axes in figure.axes:
        legend = axes.get_legend()
        if legend is not None:
            legend.set_frame_on(True)
            legend.get_frame().set(edgecolor="none", facecolor="white", alpha=0.85)
    # Dates, versions and random SVG ids would make new bytes of old data.
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    # Some of the pictures show people.
    with (
        atomic_path(path, mode=0o600) as temporary,
        mpl.rc_context({"svg.hashsalt": "reid", "svg.fonttype": "none", "font.family": "DejaVu Sans"}),
    ):
        figure.savefig(temporary, metadata=metadata)
