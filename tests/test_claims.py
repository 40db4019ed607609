"""How `benchmarks/claims.py` judges, and the claims that few people show so clearly that a test can hold."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reid.errors import UsageError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("differences", "options", "interval", "verdict"),
    [
        ((1.0, 2.0, 3.0), {}, (-0.484, 4.484), "undecided"),  # Student's t of two degrees: 4.303
        ((1.0, 1.1, 0.9), {}, (0.752, 1.248), "holds"),
        ((1.0, 1.1, 0.9), {"smaller": True}, (0.752, 1.248), "does not"),
        ((-1.0, -1.1, -0.9), {"smaller": True}, (-1.248, -0.752), "holds"),
        ((-0.005, -0.006, -0.004), {}, (-0.00748, -0.00252), "does not"),
        ((-0.005, -0.006, -0.004), {"limit": 0.01}, (-0.00748, -0.00252), "holds"),
        ((-0.005, -0.006, -0.004), {"limit": 0.005}, (-0.00748, -0.00252), "undecided"),
    ],
)
def test_a_verdict_is_that_of_the_paired_interval(
    differences: tuple[float, ...],
    options: dict[str, Any],
    interval: tuple[float, float],
    verdict: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    claims = importlib.import_module("_claims")
    claim = claims.Claim("", "", "", "", lambda world, seed: (0.0, 0.0), **options)
    # the other way's own figures do not matter, however far they are apart
    finding = claims.found(claim, [(10.0**n + gap, 10.0**n) for n, gap in enumerate(differences)])
    assert finding.interval == pytest.approx(interval, rel=5e-3)
    assert finding.verdict == verdict


def test_the_page_says_of_every_claim_that_does_not_hold_what_was_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    claims = importlib.import_module("claims")
    page = (BENCHMARKS.parent / "docs/claims.md").read_text()
    table, below = page[: page.rindex("\n| ")], page[page.rindex("\n| ") :]
    missed = claims.not_held(table + below)
    assert len(missed) == page.count("| **undecided** |") + page.count("| **does not** |") > 0
    assert [line for line in below.splitlines() if line.startswith("- ")] == claims.notes(missed)
    # Every line of the table is one of the claims, on the people that it is made of.
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    wanted = {(claim.says, world) for claim in claims.CLAIMS.values() for world in claim.worlds}
    assert {(cells[0].removeprefix("| "), cells[2]) for cells in rows} == wanted
    with pytest.raises(UsageError, match="no claim says 'Nobody said this'"):
        claims.not_held("| Nobody said this | of | real | **undecided** |")


@pytest.mark.slow
def test_the_robust_claims_hold_on_a_few_rendered_people() -> None:
    command = [sys.executable, str(BENCHMARKS / "claims.py"), "--quick", "--json", "--seeds", "3"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    claims = json.loads(done.stdout.splitlines()[-1])["claims"]
    assert set(claims) == {"center_1_rendered", "mahalanobis_rendered", "fall_blurred_rendered"}
    assert [name for name, found in claims.items() if not found["holds"]] == [], done.stdout
