"""The commands ``match``, ``score``, ``report``, ``tracks`` and ``crops``. Heavy imports are inside them, so
that ``--help`` is fast.
"""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reid.errors import ReidError, UsageError
from serving.cli.shared import INCOMPLETE, finite

if TYPE_CHECKING:
    from serving.job.progress import Progress
    from serving.job.run import JobResult

__all__ = ["crops", "match", "report", "score", "tracks"]


def match(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="A job file; or a video, a quoted pattern or a URL for each camera.",
            metavar="JOB.yaml|VIDEO...",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="DIR|URL",
            help="Output folder, here or in a store (s3://bucket/found); appears whole when the job is done.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            help="Of videos: the model directory; rendered, which comes with the package, if not given.",
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option("--gallery", help="Of videos: known people; without it everybody is unknown."),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            "--detector", help="Of videos: a detector's file, ONNX or OpenVINO; motion if not given."
        ),
    ] = None,
    person_class: Annotated[
        int | None,
        typer.Option(min=0, max=10**9, help="Of --detector FILE: the class that people are; its layout's."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=2,
            callback=finite,
            help="Of videos: the largest distance of one person; the model's if not given.",
        ),
    ] = None,
    init: Annotated[
        bool,
        typer.Option("--init", help="Write a commented job file (job.yaml, or the name given) and stop."),
    ] = False,
    segment_s: Annotated[
        float,
        typer.Option(
            help="Seconds of footage worked through and stored at a time.",
            min=5.0,
            max=86_400.0,
            callback=finite,
        ),
    ] = 60.0,
    workers: Annotated[int, typer.Option(help="Processes that share the work.", min=1, max=1024)] = 1,
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster that shares the work; local starts one here.")
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option(help="A file kept up to date in Prometheus' text format.")
    ] = None,
    json_lines: Annotated[
        bool,
        typer.Option(
            "--json-lines", help="Progress as JSON lines on standard error instead of bars or lines."
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Find known and unknown people in camera footage."""
    from reid.shipped import READY
    from serving.cli.job_file import are_footage, asked_job, write_job_file, write_template

    if init:
        typer.echo(
            f"job file: {write_template(sources or [])}: name your cameras and model in it, then reid "
            "match it --out DIR"
        )
        return
    if out is None:
        raise UsageError("name the output folder with --out DIR")
    of_videos = model is not None or are_footage(sources or [])
    checked = asked_job(sources or [], model, gallery, detector, threshold, person_class)
    from serving.job.publication import published_output
    from serving.job.run import Execution, StopRequested, run_job
    from serving.watchdog import ended_when_stuck

    there = published_output(out)
    folder = Path(out) if there is None else there.local
    execution = Execution(segment_s, workers, ray, None if there is None else there.keep)

    def stop(number: int, frame: object) -> None:
        raise StopRequested

    signal.signal(signal.SIGTERM, stop)
    try:
        with _displays(metrics, json_lines, quiet) as progress, ended_when_stuck(checked.stall_s):
            if there is not None:
                there.begin()
            result = run_job(checked, folder, progress, execution)
            if of_videos:
                write_job_file(checked, folder)
            if there is not None:
                there.publish()
    except StopRequested as error:
        raise StoppedError(
            "stopped: what is finished is kept; the same command goes on from there"
        ) from error
    _print_result(result, out)
    if of_videos and model is None:
        typer.echo(f"model: {READY}, which comes with this package; --model DIR names another")
    if result.problems and not result.unchanged:
        raise typer.Exit(INCOMPLETE)


@contextmanager
def _displays(metrics: Path | None, json_lines: bool, quiet: bool) -> Iterator["Progress"]:
    """All that a job's progress goes to."""
    from serving.display import CompositeProgress, JsonLinesProgress, MetricsFile, shown_progress

    displays: list[Progress] = [] if metrics is None else [MetricsFile(metrics)]
    if json_lines:
        displays.append(JsonLinesProgress(sys.stderr))
    with ExitStack() as stack:
        if not (quiet or json_lines):
            displays.append(stack.enter_context(shown_progress()))
        yield CompositeProgress(displays)


def _print_result(result: "JobResult", out: str) -> None:
    counts = result.summary["counts"]
    if result.unchanged:
        typer.echo(f"already done: nothing has changed since, {counts['sightings']} sightings are in {out}")
        return
    typer.echo(
        (
            f"{counts['sightings']} sighting{'s' * (counts['sightings'] != 1)}, "
            f"{counts['named']} named, {counts['unknown']} unknown, in "
            f"{counts['frames']} frames"
        )
        if counts["sightings"]
        else f"nobody was seen in {counts['frames']} frames"
    )
    typer.echo(f"results: {out}")
    if result.seen_before:
        typer.echo("people were named anew from what an earlier run had seen; nothing was detected again")
    for line in filter(None, (result.runtime, result.detector)):
        typer.echo(line)
    for note in result.notes:
        typer.echo(note)
    for problem in result.problems:
        typer.echo(problem, err=True)


class StoppedError(ReidError):
    """The job was asked to end by SIGTERM."""

    exit_code = 128 + signal.SIGTERM


def score(
    folder: Annotated[Path, typer.Argument(help="What reid match wrote.", metavar="DIR")],
    truth: Annotated[
        list[str],
        typer.Option("--truth", help="MOTChallenge truth; camera=FILE when the job has several cameras."),
    ],
    frames: Annotated[
        str | None,
        typer.Option(help="Score only these frames, as FIRST-LAST; those of the job where not given."),
    ] = None,
    people: Annotated[
        Path | None, typer.Option(help="Who truth ids are, where they are of tracks: lines 'id,person'.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare a job's output with truth; writes score.json into the folder."""
    from reid.files import write_json
    from serving.job.layout import JobFolder
    from serving.scoring import read_people, score_job

    files: dict[str, Path] = {}
    for one in truth:
        camera, mark, path = one.partition("=")
        files[camera if mark else ""] = Path(path if mark else camera)
    value = score_job(folder, files, parse_range(frames), read_people(people) if people else None).as_dict()
    write_json(JobFolder(folder).score, value)
    if as_json:
        typer.echo(json.dumps(value, sort_keys=True))
        return
    for name, row in [
        *value["cameras"].items(),
        *([("all", value["total"])] if len(value["cameras"]) > 1 else []),
    ]:
        typer.echo(
            f"{name}: HOTA {row['hota']:.3f}, IDF1 {row['idf1']:.3f}, MOTA {row['mota']:.3f}; "
            f"{_names_in_words(row)}"
        )


def _names_in_words(row: dict[str, Any]) -> str:
    counts = row["naming"]
    if not counts["named"]:  # a share of those rightly called unknown would read as a share of right names
        return (
            f"nobody is named: {counts['right']} sightings of people not enrolled, "
            f"{counts['unknown']} of enrolled ones"
        )
    shares = [f"{row[key]:.3f}" for key in ("named_right", "named_wrong", "named_unknown")]
    return f"sightings named rightly {shares[0]}, wrongly {shares[1]}, unknown {shares[2]}"


def report(
    folders: Annotated[list[Path], typer.Argument(help="What reid match wrote.", metavar="DIR...")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write a page over all these jobs here, by day, camera and hour."),
    ] = None,
    timezone: Annotated[
        str, typer.Option(help="Of the days and hours in --out, as Europe/Berlin.", metavar="ZONE")
    ] = "UTC",
    corrections: Annotated[
        Path | None,
        typer.Option(
            "--corrections", help="What the page saved: applied to the gallery and the job's tables first."
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option("--gallery", help="Of corrections: the gallery; that of the job if not given."),
    ] = None,
) -> None:
    """Write a job's report.html anew, with corrections that were made in it; or one page over many jobs."""
    from serving.job.layout import JobFolder
    from serving.job.report import write_report

    if out is not None:
        if corrections is not None or gallery is not None:
            raise UsageError("--corrections and --gallery are of one job's report: leave --out out")
        _report_many(folders, out, timezone)
        return
    if len(folders) > 1:
        raise UsageError("several jobs are shown on one page: name it with --out FILE.html")
    (folder,) = folders
    path = JobFolder(folder).report
    if corrections is None:
        if gallery is not None:
            raise UsageError("--gallery is for --corrections FILE: name both")
        write_report(folder, path)
        typer.echo(f"report: {path}")
        return
    from serving.cli.shared import nothing_left
    from serving.job.corrections.application import correct_job

    with nothing_left(gallery) if gallery is not None else nullcontext():
        done = correct_job(folder, corrections, gallery)
    if done.already:
        typer.echo(f"already applied: nothing is left to do of {corrections}")
        return
    enrolled = f"; now in the gallery: {', '.join(done.enrolled)}" if done.enrolled else ""
    typer.echo(f"{done.count} correction{'s' * (done.count != 1)} applied{enrolled}")
    typer.echo(f"report: {path}")
    for line in done.warnings:
        typer.echo(line, err=True)


def _report_many(folders: list[Path], out: Path, timezone: str) -> None:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from serving.cli.shared import print_warnings
    from serving.job.dashboard import write_dashboard
    from serving.job.report.folders import distinct

    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(f"--timezone {timezone!r} is unknown: name one like Europe/Berlin") from error
    print_warnings(write_dashboard(distinct(folders), out, timezone))
    typer.echo(f"report: {out}")


def tracks(
    folder: Annotated[Path, typer.Argument(help="What reid match wrote.", metavar="DIR")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the files.")],
    form: Annotated[
        str,
        typer.Option("--format", help="mot (MOTChallenge), cvat (CVAT for video 1.1) or coco (for video)."),
    ] = "mot",
) -> None:
    """Write a job's tracks, with names, in the form of another tool."""
    from serving.job.tracks import FORMATS, export_tracks

    chosen = next((one for one in FORMATS if one == form), None)
    if chosen is None:
        raise UsageError(f"--format is {form!r}: want {', '.join(FORMATS)}")
    names = export_tracks(folder, chosen, out)
    typer.echo(f"tracks: {out} ({', '.join(names)})")


def crops(
    video: Annotated[Path, typer.Argument(help="Footage.", metavar="VIDEO")],
    truth: Annotated[Path, typer.Option("--truth", help="MOTChallenge truth with an identity for each box.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the crops.")],
    frames: Annotated[str | None, typer.Option(help="Only these frames, as FIRST-LAST.")] = None,
    every: Annotated[int, typer.Option(help="Take every n-th frame.", min=1, max=10**9)] = 1,
    camera: Annotated[int, typer.Option(help="The camera's number in the file names.", min=0, max=10**9)] = 1,
) -> None:
    """Cut people out of footage with truth, to enroll them or to calibrate on them."""
    from serving.scoring.crops import cut_crops

    problems: list[str] = []
    count = cut_crops(video, truth, out, parse_range(frames), every, camera, on_problem=problems.append)
    typer.echo(f"{count} crops: {out}")
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(INCOMPLETE)


def parse_range(text: str | None) -> tuple[int, int] | None:
    """``"201-795"`` as (201, 795).

    Raises:
        UsageError: it is not two numbers from 1, in order.
    """
    if text is None:
        return None
    first, mark, last = text.partition("-")
    if not (mark and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise UsageError(f"--frames is {text!r}: want FIRST-LAST, counted from 1, as in 201-795")
    return int(first), int(last)
