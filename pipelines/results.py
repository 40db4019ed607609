"""What ``make run`` prints at its end: the figures, and where everything lies."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.stage.console import run_stage
from pipelines.stage.places import EVALUATION, EXPORTED, JOB_OUTPUT, MATCH_REPORT, METRICS_NAME, SELECTION
from reid.evaluation.page import PAGE_NAME
from reid.files import read_json
from serving.job.layout import JobFolder


def objectives_table(metrics: dict[str, Any], selection: dict[str, Any]) -> Table:
    """Test figures of each objective and of the untrained network."""
    where = "within the camera" if metrics.get("within_camera") else "one camera against the others"
    table = Table(title=f"People never trained on, {where}")
    for column in ("objective", "rank-1", "rank-5", "mAP", "mINP", "validation mAP"):
        table.add_column(column, justify="left" if column == "objective" else "right")
    scores = selection.get("val_mean_ap", {})
    for name, row in {"untrained": metrics["untrained"], **metrics["objectives"]}.items():
        chosen = " (chosen)" if name == metrics["chosen"] else ""
        figures = [f"{row[key]:.3f}" for key in ("rank1", "rank5", "mean_ap", "mean_inp")]
        validation = f"{scores[name]:.3f}" if name in scores else ""
        table.add_row(name + chosen, *figures, validation)
    return table


def sightings_table(path: Path) -> Table:
    """The sightings of the job, at most twenty."""
    import pyarrow.parquet as pq

    rows = pq.read_table(path).to_pylist()
    table = Table(
        title=f"{len(rows)} sightings in camera footage{', the first 20' if len(rows) > 20 else ''}"
    )
    for column in ("camera", "from", "to", "who", "distance", "threshold"):
        table.add_column(column)
    for row in rows[:20]:
        figures = [f"{row['start_s']:.1f} s", f"{row['end_s']:.1f} s", row["identity"]]
        distances = ["" if row[key] is None else f"{row[key]:.3f}" for key in ("distance", "threshold")]
        table.add_row(row["camera"], *figures, *distances)
    return table


def main() -> None:
    """Print tables and places."""
    console = Console()
    metrics = read_json(EVALUATION / METRICS_NAME, "evaluation")
    if "left_out" in metrics:
        console.print(metrics["left_out"])
    else:
        console.print(objectives_table(metrics, read_json(SELECTION, "selection")))
    job = JobFolder(JOB_OUTPUT)
    if job.sightings.exists():
        console.print(sightings_table(job.sightings))
    score = read_json(MATCH_REPORT, "score of the job")
    if "idf1" in score:
        shares = [
            f"{key.replace('_', ' ')} {score[key]:.3f}"
            for key in ("named_right", "named_wrong", "named_unknown", "idf1", "hota")
        ]
        console.print("  ".join(shares), highlight=False)
    places = {
        "report page": job.report,
        "sightings": job.sightings,
        "annotated video": job.path,
        "model directory": EXPORTED,
        "evaluation": EVALUATION / PAGE_NAME,
        "runs": "mlflow ui --backend-store-uri sqlite:///mlflow.db",
    }
    for what, where in places.items():
        console.print(f"{what:>16}  {where}", highlight=False)


if __name__ == "__main__":
    run_stage(main)
