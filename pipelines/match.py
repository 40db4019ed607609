"""Stage ``match``: the rendered footage, or the job that params.yaml names -> ``results``, scored where there
is truth.
"""

from pathlib import Path

import yaml

from pipelines.stage.console import run_stage, say
from pipelines.stage.places import EXPORTED, FOOTAGE, GALLERY, JOB_OUTPUT, MATCH_REPORT, RESULTS, TOWN
from reid.config import load_params
from reid.errors import ReidError
from reid.files import atomic_path, read_json, write_json


def write_job(path: Path, footage: Path, detector: str, policy: str) -> None:
    """A job over every video of ``footage``; paths are relative to the job file, as a user would write
    them.
    """
    starts = read_json(footage.parent / TOWN.name, "town").get("camera_start", {})
    cameras = []
    for video in sorted(footage.glob("*.webm")):
        start = starts.get(video.stem.removeprefix("camera"))
        cameras.append(
            {"id": video.stem, "source": f"../{video.as_posix()}"} | ({"start_time": start} if start else {})
        )
    job = {
        "cameras": cameras,
        "model": f"../{EXPORTED}",
        "gallery": f"../{GALLERY}",
        "policy": policy,
        "detector": {"name": detector},
    }
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(job, sort_keys=False))


def main() -> None:
    """Run the job and score it."""
    from serving.display import shown_progress
    from serving.job.layout import JobFolder
    from serving.job.run import run_job
    from serving.scoring import score_job
    from serving.spec import load_job

    params = load_params()
    if not any(FOOTAGE.glob("*.webm")):
        write_json(
            MATCH_REPORT,
            {"skipped": "the data set has no footage: write a job.yaml and run `reid match`"},
        )
        say("no footage in this data set: write a job.yaml and run `reid match job.yaml --out DIR`")
        return
    job = RESULTS / "job.yaml"
    write_job(job, FOOTAGE, params.match.detector, params.match.policy)
    with shown_progress() as progress:
        result = run_job(load_job(job), JOB_OUTPUT, progress)
    if result.problems:
        raise ReidError(result.problems[0])
    truth = {path.stem: path for path in sorted(FOOTAGE.glob("*.txt"))}
    score = score_job(JOB_OUTPUT, truth).as_dict()
    write_json(JobFolder(JOB_OUTPUT).score, score)
    total = score["total"]
    write_json(MATCH_REPORT, {key: value for key, value in total.items() if key != "naming"})
    shares = ", ".join(
        f"{key.replace('_', ' ')} {total[key]:.2f}" for key in ("named_right", "named_wrong", "named_unknown")
    )
    say(f"sightings: {shares}; IDF1 {total['idf1']:.2f}")


if __name__ == "__main__":
    run_stage(main)
