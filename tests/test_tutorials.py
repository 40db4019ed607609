"""The tutorials do what they say: their own text is run."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a tutorial in one language, in order."""
    text = (ROOT / "docs" / "tutorials" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def test_a_loss_in_my_own_loop_learns_people_it_has_not_seen() -> None:
    code = blocks("loss_in_my_loop.md", "python")
    assert len(code) == 4
    names: dict[str, object] = {}
    for block in code:
        exec(compile(block, "loss_in_my_loop.md", "exec"), names)
    trained, network = names["report"], names["network"]
    for layer in network.children():  # type: ignore[attr-defined]
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    exec(compile(code[-1], "loss_in_my_loop.md", "exec"), names)
    assert trained.mean_ap > names["report"].mean_ap + 0.1  # type: ignore[attr-defined]
