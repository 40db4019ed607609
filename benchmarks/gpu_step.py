"""The training step where there is a GPU, or without one on the processor: images per second of all of it
against the network alone, and how often the processor waits for the GPU.

Needs torch and torchvision, and of what this project needs otherwise only a few packages, 40 MB of wheels: no
Ray, MLflow, DVC or Parquet. To carry it to a bare machine that has torch:

    pip download --no-deps -d wheels pydantic pydantic-core annotated-types typing-inspection \
        typing-extensions safetensors scipy pyyaml pytorch-metric-learning

then there, in the project's folder, ``pip install --no-index --no-deps wheels/*.whl`` and
``PYTHONPATH=. python benchmarks/gpu_step.py``.

``alone`` runs the network forward and backward on one batch that lies on the device, with the optimiser and
nothing else: no images read or augmented, no losses but a sum, no averaged weights, no figures. The whole
step cannot be faster; how near it comes is what the rest costs: ``host_share`` is the rest's time by that of
the network. ``--compile yes`` has both by ``torch.compile``.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from reid.config import TermParams, TrainParams, load_params
from reid.models.embedder import EmbeddingModel, ModelSpec, build_model
from reid.training.batches import TrainingData
from reid.training.loop import train
from reid.training.modes import half_precision, layout, training_pass
from reid.training.objective import build_objective

SKIPPED = 5  # first steps of each round: memory is touched and kernels are chosen for the first time


def made_up(people: int, images: int, height: int, width: int) -> TrainingData:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (people * images, height, width, 3), dtype=np.uint8)
    labels = np.repeat(np.arange(people), images).astype(np.int64)
    nobody = np.empty(0, np.str_)
    paths = [Path(f"{number}.png") for number in range(len(pixels))]
    return TrainingData(
        pixels, labels, np.tile(["1", "2"], len(pixels) // 2), paths, pixels[:0], nobody, nobody
    )


def ready(device: torch.device) -> float:
    """The time at which all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def whole_step(
    model: EmbeddingModel, data: TrainingData, settings: TrainParams, device: torch.device
) -> Callable[[], float]:
    """Seconds a step of the training loop."""
    objective = build_objective(
        {
            "batch_hard": TermParams(options={"soft_margin": True}),
            "softmax": TermParams(options={"label_smoothing": 0.1}),
        },
        num_classes=int(data.labels.max()) + 1,
        embedding_dim=model.dim,
    ).to(device)

    def run() -> float:
        moments: list[float] = []

        def note(step: int, steps: int) -> None:
            if step in (SKIPPED, steps):
                moments.append(ready(device))

        train(model, objective, data, settings, seed=0, on_step=note)
        return (moments[1] - moments[0]) / (settings.steps - SKIPPED)

    return run


def network_alone(
    model: EmbeddingModel, spec: ModelSpec, settings: TrainParams, device: torch.device
) -> Callable[[], float]:
    """Seconds a step of the network and its optimiser."""
    kind = layout(settings.channels_last)
    model = model.train().to(memory_format=kind)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    forward = training_pass(model, half_precision(settings.precision), settings.compile)
    batch = settings.identities * settings.images
    images = torch.randn(batch, 3, spec.height, spec.width, device=device).to(memory_format=kind)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        forward(images).float().square().mean().backward()
        optimizer.step()

    def run() -> float:
        for _ in range(SKIPPED):
            step()
        started = ready(device)
        for _ in range(settings.steps - SKIPPED):
            step()
        return (ready(device) - started) / (settings.steps - SKIPPED)

    return run


def waits(run: Callable[[], float], steps: int) -> float | None:
    """How often a step makes the processor wait, by torch's own account; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(one.message) for one in found) / steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--identities", type=int, default=16)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of the processor")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--compile", choices=["no", "yes"], default="no")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    chosen = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    spec = ModelSpec(chosen.backbone, "none", chosen.height, chosen.width)
    own = {"steps": chosen.steps, "epoch_steps": chosen.steps, "max_seconds": None, "freeze_steps": 0}
    own |= {name: getattr(chosen, name) for name in ("identities", "images", "precision", "threads")}
    own |= {"compile": chosen.compile == "yes"}
    params = load_params(Path(__file__).parents[1] / "params.yaml")
    settings = params.train.model_copy(update=own)
    torch.set_num_threads(settings.threads)
    batch = chosen.identities * chosen.images
    data = made_up(4 * chosen.identities, chosen.images, chosen.height, chosen.width)
    whole = whole_step(build_model(spec).to(device), data, settings, device)
    alone = network_alone(build_model(spec).to(device), spec, settings, device)
    seconds: dict[str, list[float]] = {"whole": [], "alone": []}
    for _ in range(chosen.rounds):
        seconds["whole"].append(whole())
        seconds["alone"].append(alone())
    figures = {name: batch / statistics.median(values) for name, values in seconds.items()}
    share = statistics.median(w / a for w, a in zip(seconds["whole"], seconds["alone"], strict=True))
    result = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "backbone": chosen.backbone,
        "batch": batch,
        "size": [chosen.height, chosen.width],
        "images_per_second": {name: round(value, 1) for name, value in figures.items()},
        "whole_to_alone": round(share, 3),
        "ratios": {"host_share": round(share - 1, 3)},
        "waits_per_step": waits(whole, chosen.steps),
    }
    if chosen.json:
        print(json.dumps(result))
        return
    print(f"{result['device']}, {chosen.backbone}, {batch} images of {chosen.height} x {chosen.width}")
    print(f"whole step {figures['whole']:.0f} images/s, network alone {figures['alone']:.0f} images/s")
    print(
        f"what is done beside the network takes {100 * (share - 1):.0f} % of the network's time "
        f"(median of {chosen.rounds})"
    )
    if result["waits_per_step"] is not None:
        print(f"the processor waits for the GPU {result['waits_per_step']:.1f} times a step")


if __name__ == "__main__":
    main()
