"""Crops on disk to embeddings in memory: torchreid's FeatureExtractor against every runtime and precision
here, on the same images.

The networks are the same on both sides, as published (stride 32 for ResNet and MobileNet, a 512-d layer for
OSNet), with random weights where ImageNet's need a download; MobileNetV2 has its ImageNet weights and so the
float32 layers that int8 really needs.
"""

import contextlib
import importlib.util
import io
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from _measure import Measured, alternate, arguments, ratio, report

from reid.card import InputSpec, ModelCard, ModelFile, save_card
from reid.data.datasets.files import find_images
from reid.errors import UsageError
from reid.export.int8 import Int8File
from reid.export.onnx import export_onnx
from reid.export.precisions import FILES, Fp16Conversion, Int8Conversion
from reid.images import read_image, resize
from reid.models.embedder import EmbeddingModel, ModelSpec, build_model, normalise
from serving.embedding import embed_files
from serving.runtime import Embedder, load

HEIGHT, WIDTH = 256, 128


@dataclass(frozen=True)
class Network:
    """The same network under two names."""

    spec: ModelSpec
    torchreid_name: str


def _network(backbone: str, torchreid_name: str, weights: str = "none", **facts: Any) -> Network:
    return Network(
        ModelSpec(backbone, weights, HEIGHT, WIDTH, neck_feature="before_bn", **facts), torchreid_name
    )


NETWORKS = {
    "osnet_x0_25": _network("osnet_x0_25", "osnet_x0_25", embedding_dim=512),
    "osnet_x1_0": _network("osnet_x1_0", "osnet_x1_0", embedding_dim=512),
    "mobilenet_v2": _network("mobilenet_v2", "mobilenetv2_x1_0", weights="imagenet", last_stride=2),
    "resnet50": _network("resnet50", "resnet50", last_stride=2),
}


def made_up_crops(folder: Path, count: int) -> list[Path]:
    """JPEG files of 64x160 pixels with blobs and grain."""
    rng = np.random.default_rng(0)
    for row in range(count):
        blobs = cv2.resize(
            rng.integers(0, 256, (8, 4, 3), np.uint8), (64, 160), interpolation=cv2.INTER_CUBIC
        )
        grain = rng.integers(-12, 13, blobs.shape)
        cv2.imwrite(str(folder / f"{row:04}.jpg"), np.clip(blobs + grain, 0, 255).astype(np.uint8))
    return sorted(folder.iterdir())


def chosen_crops(folder: str, count: int, made_up: Path) -> list[Path]:
    if not folder:
        return made_up_crops(made_up, count)
    paths = find_images(Path(folder)).images
    if not paths:
        raise UsageError(f"no image lies in {folder}: name a folder of crops")
    return [paths[row % len(paths)] for row in range(count)]


def settled(model: EmbeddingModel, pixels: torch.Tensor) -> EmbeddingModel:
    """Give BatchNorm the statistics of these images: random weights alone let activations grow from layer to
    layer.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.neck(model.train()(pixels))
    return model.eval()


def write_model(network: Network, folder: Path, crops: np.ndarray, precisions: Sequence[str]) -> None:
    """A model directory, without the gate: random weights have nothing to prove."""
    torch.manual_seed(0)
    spec = network.spec
    model = build_model(spec).eval()
    if spec.weights == "none":
        settled(model, normalise(torch.from_numpy(crops[:32])))
    source = folder / FILES["fp32"]
    export_onnx(model, spec, source, {})
    if "fp16" in precisions:
        Fp16Conversion(source, crops).write(folder / FILES["fp16"], 0.999)
    if "int8" in precisions and spec.weights == "none":
        Int8File(source, crops[:16]).write(folder / FILES["int8"])
    elif "int8" in precisions:
        kept = Int8Conversion(source, crops).write(folder / FILES["int8"], 0.99).kept
        print(f"{spec.backbone} int8: {len(kept)} layers stay in float32")
    files = {
        precision: ModelFile(path=FILES[precision]) for precision in dict.fromkeys(("fp32", *precisions))
    }
    card = ModelCard(
        name=spec.backbone, dim=model.dim, input=InputSpec(height=HEIGHT, width=WIDTH), files=files
    )
    save_card(card, folder)


def torchreid_extractor(network: Network, folder: Path, batch: int) -> Callable[[Sequence[Path]], np.ndarray]:
    """torchreid's own class, fed with file names in batches; its chatter is kept off the table."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        from torchreid.reid.models import build_model as build_torchreid
        from torchreid.reid.utils import FeatureExtractor

        weights = folder / "torchreid.pth"
        torch.save(
            build_torchreid(network.torchreid_name, num_classes=1, pretrained=False).state_dict(), weights
        )
        extractor = FeatureExtractor(
            network.torchreid_name, str(weights), (HEIGHT, WIDTH), device="cpu", verbose=False
        )

    def run(paths: Sequence[Path]) -> np.ndarray:
        names = [str(path) for path in paths]
        return np.concatenate(
            [extractor(names[start : start + batch]).numpy() for start in range(0, len(names), batch)]
        )

    return run


def inference_alone(embedder: Embedder, crops: np.ndarray) -> Callable[[], None]:
    batches = [
        embedder.prepare(crops[start : start + embedder.batch])
        for start in range(0, len(crops), embedder.batch)
    ]

    def run() -> None:
        with ThreadPoolExecutor(embedder.at_once) as pool:
            for _ in pool.map(embedder.run, batches):
                pass

    return run


def measure(name: str, paths: list[Path], crops: np.ndarray, options: Any) -> dict[str, Any]:
    """One network: images a second of torchreid and of each runtime and precision, taken in turns."""
    network, precisions = NETWORKS[name], options.precisions.split(",")
    backends = [backend for backend in ("onnxruntime", "openvino") if importlib.util.find_spec(backend)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_model(network, folder, crops, precisions)
        peer = torchreid_extractor(network, folder, options.batch)
        embedders = {
            (backend, precision): load(folder, backend, options.threads, precision=precision)
            for backend in backends
            for precision in precisions
        }
        candidates: dict[str, Callable[[], object]] = {"torchreid": lambda: peer(paths[: options.peer_count])}
        for (backend, precision), embedder in embedders.items():
            candidates[f"{backend} {precision}"] = lambda embedder=embedder: embed_files(
                embedder, paths, threads=options.threads
            )  # type: ignore[misc]
            candidates[f"{backend} {precision} alone"] = inference_alone(embedder, crops)
        timed = alternate(candidates, options.rounds, warmup=1, memory=False)
    return summary(timed, len(paths), min(len(paths), options.peer_count), backends, precisions)


def summary(
    timed: dict[str, Measured],
    count: int,
    peer_count: int,
    backends: Sequence[str],
    precisions: Sequence[str],
) -> dict[str, Any]:
    """Images a second, ratios and inference's share, by runtime and precision, and the best runtime of each
    precision.
    """
    rows = {}
    for precision in precisions:
        for backend in backends:
            ours, alone = timed[f"{backend} {precision}"], timed[f"{backend} {precision} alone"]
            rows[f"{backend}_{precision}"] = {
                "images_per_second": count / ours.median,
                "vs_torchreid": ratio(ours, timed["torchreid"]) * count / peer_count,
                "inference_share": ratio(ours, alone),  # round by round: the two ran one after the other
            }
    best = {
        precision: max(
            (f"{backend}_{precision}" for backend in backends), key=lambda row: rows[row]["vs_torchreid"]
        )
        for precision in precisions
    }
    return {
        "torchreid_images_per_second": peer_count / timed["torchreid"].median,
        "runtimes": rows,
        "best": best,
    }


def main() -> None:
    options = arguments(
        __doc__ or "",
        backbones=",".join(NETWORKS),
        precisions="fp32,int8",
        images="",
        count=512,
        # torchreid works through its images batch by batch: more of them change nothing but the time it takes
        peer_count=64,
        threads=2,
        batch=32,
        rounds=3,
    )
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        paths = chosen_crops(options.images, options.count, Path(folder))
        crops = np.stack([resize(read_image(path), HEIGHT, WIDTH) for path in paths])
        results = {name: measure(name, paths, crops, options) for name in options.backbones.split(",")}
    table = [
        (name, row, values["images_per_second"], values["vs_torchreid"], values["inference_share"])
        for name, result in results.items()
        for row, values in (
            (
                "torchreid",
                {
                    "images_per_second": result["torchreid_images_per_second"],
                    "vs_torchreid": 1.0,
                    "inference_share": "-",
                },
            ),
            *result["runtimes"].items(),
        )
    ]
    ratios = {
        f"{name}_{precision}_vs_torchreid": result["runtimes"][row]["vs_torchreid"]
        for name, result in results.items()
        for precision, row in result["best"].items()
    }
    columns = ("network", "runtime", "images/s", "x torchreid", "share of inference")
    title = f"{options.count} crops on disk to embeddings, {options.threads} threads"
    report(
        title,
        columns,
        table,
        {"ratios": ratios, "networks": results, "threads": options.threads},
        options.json,
    )


if __name__ == "__main__":
    main()
