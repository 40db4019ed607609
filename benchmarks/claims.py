"""What lectures and papers claim about objectives, shown small: one line a claim and a kind of people, with
the 95 % interval of the difference over seeds.

    python benchmarks/claims.py                      # the table of docs/claims.md
    python benchmarks/claims.py --only batch_hard,kernel --seeds 3
    python benchmarks/claims.py --quick              # a few rendered people, and the claims that they show
    python benchmarks/claims.py --notes docs/claims.md   # the list below the table that stands in this file

Real people are those of the folder that REID_SHARED names (../shared); where it is missing, rendered people
stand alone. Both sides of a claim have the same people, first weights and steps.
"""

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from _claims import BOTH, Claim, Finding, found
from _claims_frozen import CLAIMS as FROZEN
from _claims_images import CLAIMS as IMAGES
from _claims_training import CLAIMS as TRAINING
from _measure import SHARED, abilities
from _people import CUHK03, OSNET, World, imagenet, ready, real, rendered

from reid.errors import ReidError, UsageError

CLAIMS: dict[str, Claim] = {**TRAINING, **IMAGES, **FROZEN}
COLUMNS = ("claim", "of", "people", "trained", "figure", "so", "other", "difference", "95 %", "verdict")


def worlds(quick: bool, wanted: set[str]) -> Iterator[World]:
    """The kinds of people, one after the other, since each holds its pictures."""
    if "rendered" in wanted:
        network = imagenet()
        if quick:
            yield replace(rendered(network, 40, 16), steps=100)
        else:
            yield replace(rendered(network, 240, 80), elsewhere=rendered(network, 120, 40, town=8))
    if "real" in wanted and not quick and SHARED.is_dir():
        network = ready(OSNET)
        there = real(network, SHARED / "data/pku_reid/dev", 15)
        yield replace(real(network, CUHK03, 100), elsewhere=there)


def chosen(only: str, quick: bool) -> dict[str, Claim]:
    """The claims asked for by name, or all; with ``quick`` the robust ones."""
    names = [name for name in only.split(",") if name] or [
        name for name, claim in CLAIMS.items() if claim.quick or not quick
    ]
    if unknown := [name for name in names if name not in CLAIMS]:
        raise UsageError(f"--only: {unknown[0]} is no claim: take of {', '.join(CLAIMS)}")
    return {name: CLAIMS[name] for name in names}


def row(claim: Claim, people: str, finding: Finding) -> str:
    """A line of the table."""
    low, high = finding.interval
    cells = (
        claim.says,
        claim.source,
        people,
        claim.trained,
        claim.figure,
        f"{finding.ours:.3f}",
        f"{finding.other:.3f}",
        f"{finding.ours - finding.other:+.3f}",
        f"{low:+.3f} to {high:+.3f} ({finding.seeds})",
        finding.verdict if finding.verdict == "holds" else f"**{finding.verdict}**",
    )
    return f"| {' | '.join(cells)} |"


def notes(claims: Iterable[Claim]) -> list[str]:
    """A line for each claim that does not come out on some people: what else was tried."""
    return [f"- {claim.says}: {claim.tried or 'nothing else'}." for claim in dict.fromkeys(claims)]


def not_held(table: str) -> list[Claim]:
    """The claims of a printed table that do not hold on some people, in its order."""
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
    said = [cells[0].removeprefix("| ") for cells in rows if cells[-1].startswith("**")]
    known = {claim.says: claim for claim in CLAIMS.values()}
    if unknown := [words for words in said if words not in known]:
        raise UsageError(f"--notes: no claim says {unknown[0]!r}: print the table anew")
    return [known[words] for words in said]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="names of claims, separated by commas")
    parser.add_argument("--people", choices=BOTH, help="of this kind alone")
    parser.add_argument("--seeds", type=int, default=5, help="of a claim; at least 2, default 5")
    parser.add_argument("--quick", action="store_true", help="the robust claims, on few rendered people")
    parser.add_argument("--notes", type=Path, metavar="FILE", help="print the list below FILE's table alone")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    if options.notes is not None:
        print("\n".join(notes(not_held(options.notes.read_text()))))
        return
    if options.seeds < 2:
        raise UsageError(f"--seeds is {options.seeds}: an interval takes at least 2")
    if options.people == "real" and (options.quick or not SHARED.is_dir()):
        raise UsageError(f"--people real: no real people at {SHARED} (set REID_SHARED), or --quick has none")
    torch.set_num_threads(1)
    began, results, missed = time.perf_counter(), {}, []
    claims = chosen(options.only, options.quick)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    kinds = {name for claim in claims.values() for name in claim.worlds}
    for world in worlds(options.quick, kinds & {options.people or name for name in kinds}):
        for name, claim in claims.items():
            if world.name not in claim.worlds:
                continue
            seeds = range(min(options.seeds, claim.most_seeds))
            finding = found(claim, [claim.measure(world, seed) for seed in seeds])
            results[f"{name}_{world.name}"] = asdict(finding) | {"holds": finding.verdict == "holds"}
            print(row(claim, world.name, finding), flush=True)
            if finding.verdict != "holds":
                missed.append(claim)
    if missed:
        print("\n" + "\n".join(notes(missed)))
    print(
        f"\n{datetime.now(UTC):%Y-%m-%d}, {abilities()}, one thread, {time.perf_counter() - began:.0f} s; "
        f"so and other are means over the seeds, whose number stands behind the interval."
    )
    if options.json:
        print(json.dumps({"claims": results}))


if __name__ == "__main__":
    try:
        main()
    except ReidError as error:
        raise SystemExit(f"claims.py: {error}") from None
