"""Every command and the quick stages, each with a valid call in the folder of ``place``, what it reads and
what it may write.
"""

from dataclasses import dataclass

from tests.fuzz.place import PATTERN

__all__ = ["COMMANDS", "Command"]

MODEL = ("--model", "model")
RUN = (*MODEL, "--backend", "onnxruntime", "--threads", "1")


@dataclass(frozen=True)
class Command:
    """A call: the words after ``reid``, or a stage's module; files or folders read; files or folders that may
    be made or changed.
    """

    words: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...] = ()
    stage: str | None = None
    private: bool = True  # what it writes is of people
    environment: tuple[tuple[str, str], ...] = ()
    # also when nothing is damaged: it wants trainings, which take too long here, and must say so
    fails: bool = False

    @property
    def name(self) -> str:
        return self.stage or " ".join(
            self.words[: 2 if self.words[0] in ("gallery", "runs", "models", "metric") else 1]
        )


def _gallery(*words: str, reads: tuple[str, ...] = (), writes: tuple[str, ...] = ()) -> Command:
    return Command(("gallery", *words), ("gallery.db", *reads), writes)


CHANGED = ("gallery.db",)
CARD = ("model/model.json", "model/model.onnx")
JOB = ("found/job.json", "found/sightings.parquet", "found/detections.parquet", "found/strangers.parquet")
KEPT = tuple(
    f"found/kept-segments/{name}"
    for name in ("ledger.json", "hall-00000/counts.json", "hall-00000/tracklets.parquet")
)
CAMERAS = ("--query-cameras", "1", "--gallery-cameras", "2")
COMMANDS = (
    Command(
        ("find", "images/p0_c1_0.png", "--in", "found", *RUN),
        ("images/p0_c1_0.png", "found/embeddings.parquet", *JOB, *CARD),
    ),
    Command(("find", "--person", "anna", "--in", "found", "--json"), ("found/embeddings.parquet", *JOB)),
    Command(("find", "--sighting", "found#hall-00001", "--in", "found"), ("found/embeddings.parquet", *JOB)),
    Command(("models", "list"), ("params.yaml",)),
    Command(("models", "show", "yolox_nano"), ("params.yaml",)),
    Command(("tracks", "found", "--format", "mot", "--out", "out"), JOB, ("out",)),
    Command(("models", "check", "model"), (*CARD, "model/self_test.safetensors")),
    Command(
        ("models", "import", "model/model.onnx", "--out", "imported"),
        ("model/model.onnx",),
        ("imported",),
        private=False,
    ),
    Command(
        ("metric", "fit", "model", "--root", "images", "--pattern", PATTERN, "--out", "fitted", *RUN[2:]),
        ("images", *CARD),
        ("fitted",),
        private=False,
    ),
    Command(
        ("calibrate", "model", "--root", "images", "--pattern", PATTERN, "--bootstrap", "5", *RUN[2:]),
        ("images", *CARD),
        ("model/model.json",),
        private=False,
    ),
    Command(
        (
            "match",
            "walk.avi",
            "--out",
            "o",
            "--quiet",
            *MODEL,
            "--threshold",
            "0.4",
            "--gallery",
            "gallery.db",
        ),
        ("walk.avi", "gallery.db", *CARD),
        ("o",),
    ),
    Command(("embed", "images", "-o", "e.parquet", *RUN), ("images", *CARD), ("e.parquet",)),
    Command(
        ("embed", "images/p0_c1_0.png", "gt.txt", "-o", "e.parquet", *RUN, "--json"),
        ("images/p0_c1_0.png", *CARD),
        ("e.parquet",),
    ),
    *[
        _gallery(word, "gallery.db", *more)
        for word in ("list", "verify", "audit", "models")
        for more in ((), ("--json",))
    ],
    _gallery("show", "gallery.db", "anna"),
    _gallery("enroll", "gallery.db", "images", *RUN, reads=("images", *CARD), writes=CHANGED),
    _gallery(
        "enroll",
        "new/g.db",
        "catalog.parquet",
        *RUN,
        "--retain-days",
        "3",
        reads=("catalog.parquet", *CARD),
        writes=("new",),
    ),
    _gallery("identify", "gallery.db", "images/p0_c1_0.png", *RUN, reads=("images/p0_c1_0.png", *CARD)),
    _gallery(
        "identify",
        "gallery.db",
        "images",
        *RUN,
        "--policy",
        "mean",
        "--tracklet",
        "--json",
        "--ratio-test",
        "0.9",
        "--threshold",
        "0.4",
        reads=("images", *CARD),
    ),
    _gallery(
        "compare", "images/p0_c1_0.png", "images/p1_c1_0.png", *MODEL, reads=("images/p0_c1_0.png", *CARD)
    ),
    _gallery("remove", "gallery.db", "anna", writes=CHANGED),
    _gallery("expire", "gallery.db", "--now", "2030-01-01T00:00", writes=CHANGED),
    _gallery("rename", "gallery.db", "anna", "carla", writes=CHANGED),
    _gallery("merge", "gallery.db", "anna", "carl", writes=CHANGED),
    _gallery("split", "gallery.db", "anna", "dora", "--reference", "1", writes=CHANGED),
    _gallery("retention", "gallery.db", "30", writes=CHANGED),
    _gallery("promote", "gallery.db", "found", "unknown-1", "Eva", reads=JOB, writes=CHANGED),
    _gallery("export", "gallery.db", "out/e.parquet", writes=(*CHANGED, "out")),
    _gallery("import", "new/g.db", "export.parquet", reads=("export.parquet",), writes=("new",)),
    _gallery("import", "gallery.db", "export.parquet", reads=("export.parquet",), writes=CHANGED),
    _gallery(
        "reembed",
        "gallery.db",
        "--model",
        "model2",
        "--backend",
        "onnxruntime",
        reads=("model2/model.json",),
        writes=CHANGED,
    ),
    _gallery("switch", "gallery.db", "tiny-2", writes=CHANGED),
    _gallery("forget", "gallery.db", "tiny-2", writes=CHANGED),
    _gallery("index", "gallery.db", "fp16", writes=CHANGED),
    _gallery("key", "new.key", writes=("new.key",)),
    *[
        Command(("match", "job.yaml", "--out", "o", "--quiet"), reads, ("o",))
        for reads in (("job.yaml",), ("job.yaml", "gt.txt"), ("walk.avi",))
    ],
    Command(
        ("match", "job.yaml", "--out", "o", "--json-lines", "--metrics", "m.prom"),
        ("gallery.db", *CARD),
        ("o", "m.prom"),
    ),
    Command(("match", "job.yaml", "--out", "found", "--quiet", "--segment-s", "60"), JOB, ("found",)),
    # With another threshold people are named anew from the segments kept in the output.
    Command(("match", "job2.yaml", "--out", "found", "--quiet"), ("job2.yaml", *KEPT), ("found",)),
    Command(("score", "found", "--truth", "gt.txt"), (*JOB, "gt.txt"), ("found",)),
    Command(
        ("score", "found", "--truth", "hall=gt.txt", "--frames", "2-20", "--people", "people.txt"),
        (*JOB, "people.txt"),
        ("found",),
    ),
    Command(("report", "found"), JOB, ("found",)),
    Command(
        ("report", "found", "--corrections", "corrections.json", "--gallery", "gallery.db"),
        ("corrections.json", "corrections.json", "gallery.db", *JOB),
        ("found", "gallery.db"),
    ),
    Command(("report", "found", "--out", "site.html", "--timezone", "Europe/Berlin"), JOB, ("site.html",)),
    Command(
        ("find", "--person", "anna", "--in", "found", "--report", "answer.html"),
        ("found/embeddings.parquet", *JOB),
        ("answer.html",),
    ),
    Command(("rematch", "found", "--json"), ("gallery.db", "found/embeddings.parquet", *JOB), ("found",)),
    Command(("forget", "found", "--person", "anna"), ("found/embeddings.parquet", *JOB), ("found",)),
    Command(("forget", "found", "--older-than", "1"), ("found/embeddings.parquet", *JOB), ("found",)),
    Command(
        ("crops", "walk.avi", "--truth", "gt.txt", "--out", "c", "--frames", "1-9", "--every", "3"),
        ("walk.avi", "gt.txt"),
        ("c",),
    ),
    Command(
        ("evaluate", *RUN, "--root", "images", "--pattern", PATTERN, *CAMERAS, "--bootstrap", "5"),
        ("images", *CARD),
    ),
    Command(
        ("evaluate", *RUN, "--catalog", "catalog.parquet", "--bootstrap", "5", "--json"),
        ("catalog.parquet", *CARD),
    ),
    Command(
        ("compare", "judged", "judged2", "--bootstrap", "5"),
        ("judged/metrics.json", "judged/queries.parquet"),
    ),
    Command(("compare", "judged", "judged2", "--shift"), ("judged/metrics.json", "judged2/metrics.json")),
    Command(("params", "params.yaml"), ("params.yaml",)),
    Command((), ("params.yaml", "images"), ("data",), stage="prepare"),
    Command(
        (),
        ("params.yaml", "data/catalog.parquet", "exported/model.json"),
        ("galleries", "reports"),
        stage="enroll",
    ),
    Command((), ("params.yaml",), ("reports", "results"), stage="match"),
    Command((), ("params.yaml", "models/batch_hard/training.json"), stage="select", fails=True),
    Command(
        (), ("params.yaml", "data/catalog.parquet", "reports/selection.json"), stage="evaluate", fails=True
    ),
    Command((), ("params.yaml",), ("fitted",), stage="fit_metric", private=False),
    Command((), ("params.yaml", "data/catalog.parquet"), stage="calibrate", fails=True),
    Command(
        (), ("params.yaml", "data/catalog.parquet", "selected/training.json"), stage="export", fails=True
    ),
    Command(("hierarchical",), ("params.yaml",), stage="train", fails=True),
    Command(
        ("gallery", "encrypt", "gallery.db", "new/g.db"),
        ("gallery.db", "gallery.key"),
        ("new",),
        environment=(("REID_GALLERY_KEY_FILE", "gallery.key"),),
    ),
    Command(
        ("models", "fetch", "mobilenet_v2", "--out", "weights"),
        ("params.yaml",),
        # with "" or "." for the folder they go into the present one, which is allowed
        ("weights", "mobilenet_v2.safetensors"),
        private=False,
    ),
    *[
        Command(("runs", word), ("params.yaml",), ("mlflow.db", "mlruns", "reports"), private=False)
        for word in ("deliver", "relocate")
    ],
    Command(
        ("runs", "list", "--most", "3"),
        ("params.yaml", "mlflow.db"),
        ("mlflow.db", "mlruns"),
        private=False,
        fails=True,
    ),
    Command(
        ("runs", "sweep", "--out", "sweep.html"),
        ("params.yaml", "mlflow.db"),
        ("mlflow.db", "mlruns", "sweep.html"),
        private=False,
        fails=True,
    ),
    Command(
        ("runs", "show", "--model", "exported"),
        ("params.yaml", "mlflow.db", "exported/model.json"),
        ("mlflow.db",),
        fails=True,
    ),
)
