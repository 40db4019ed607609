"""The command ``reid calibrate``. Heavy imports are inside it, so that ``--help`` is fast."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.evaluate import KnownPeople, Pattern, Seed
from reid.errors import UsageError
from serving.cli import AsJson, Backend, Threads

__all__ = ["calibrate"]

_SHOWN = (0.01, 0.02, 0.05, 0.1, 0.2)  # rates of false accepts


def calibrate(
    model: Annotated[Path, typer.Argument(help="Model directory, with model.json inside.", metavar="MODEL")],
    root: KnownPeople = None,
    pattern: Pattern = None,
    catalog: Annotated[
        Path | None,
        typer.Option(help="Catalog (.parquet), instead of --root; of it the validation people, if any."),
    ] = None,
    footage: Annotated[
        Path | None,
        typer.Option(help="A video, instead of pictures: people seen together are different people."),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Of --footage: MOTChallenge truth, if there is one.")
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(help="Of --truth: who its ids are, where they are of tracks: lines 'id,person'."),
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="Of --footage without truth: a detector's file; motion if not given.")
    ] = None,
    person_class: Annotated[
        int | None,
        typer.Option(min=0, max=10**9, help="Of --detector FILE: the class that people are; its layout's."),
    ] = None,
    false_accept_rate: Annotated[
        float, typer.Option(help="Share of strangers who may be taken for somebody known, above 0.")
    ] = 0.05,
    bootstrap: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Draws of people for the intervals.")
    ] = 200,
    seed: Seed = 0,
    backend: Backend = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Set the distances beyond which a person is unknown to a model, from pictures of known people, and write
    them into its card.
    """
    from pipelines.calibrate import in_words
    from pipelines.model.calibration import calibrate_model
    from pipelines.stage.console import say
    from reid.config import CalibrateParams
    from reid.data.labelled import choose_people
    from reid.shipped import refuse_shipped

    refuse_shipped(model)
    if not 0 < false_accept_rate < 1:
        raise UsageError(f"--false-accept-rate is {false_accept_rate}: want a share above 0 and below 1")
    wanted = CalibrateParams(
        false_accept_rate=false_accept_rate,
        placement="middle",
        policies=("min", "mean", "top_k"),
        bootstrap=bootstrap,
    )
    if people is not None and truth is None:
        raise UsageError("--people says who the ids of --truth are: name the truth, or leave it out")
    if footage is None:
        if truth is not None or detector is not None or person_class is not None:
            raise UsageError("--truth, --detector and --person-class are for --footage VIDEO: name the video")
        pictures = choose_people(root, pattern, catalog, say)
        result = calibrate_model(model, pictures, wanted, seed=seed, backend=backend, threads=threads)
    else:
        if root is not None or pattern is not None or catalog is not None:
            raise UsageError("name either pictures or --footage, not both")
        from pipelines.model.footage_calibration import calibrate_on_footage, calibrate_on_truth
        from serving.cli.job_file import asked_job

        if truth is not None:
            result = calibrate_on_truth(model, footage, truth, people, wanted, seed, backend, threads)
        else:
            job = asked_job([str(footage)], model, None, detector, None, person_class)
            result = calibrate_on_footage(job, wanted, seed, backend, threads)
    for line in result.unreadable:
        typer.echo(f"left out: {line}", err=True)
    at = {rate: result.curve.at(rate) for rate in _SHOWN}
    if as_json:
        made = [one.model_dump(mode="json") for one in result.thresholds]
        curve = [{"false_accept_rate": rate, "identification_rate": share} for rate, share in at.items()]
        typer.echo(
            json.dumps({"thresholds": made, "curve": curve, "images": result.images, "people": result.people})
        )
        return
    typer.echo(f"{result.images:,} pictures of {result.people:,} {result.counted}")
    typer.echo("strangers accepted   known people named rightly (one picture, policy min)")
    for rate, share in at.items():
        note = (
            ""
            if rate * result.curve.unknown_probes >= 1
            else f"   ({result.curve.unknown_probes} probes cannot show this rate)"
        )
        typer.echo(f"{100 * rate:16.0f} %   {100 * share:5.1f} %{note}")
    for one in result.thresholds:
        typer.echo(
            f"{in_words(one)}; {one.probes:,} probes, {100 * one.false_accept_rate:g} % of strangers "
            "accepted at most"
        )
    typer.echo(f"written into {model / 'model.json'}")
