"""A trained model as one ONNX file: uint8 RGB images in, L2-normalised embeddings out, with all preprocessing
but the resize inside.
"""

import copy
import logging
import operator
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]
from torch import nn
from torch.fx import GraphModule, Node
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

from reid.errors import ReidError
from reid.files import atomic_path, existing
from reid.linear_metric.graph import PREFIX
from reid.models.embedder import EmbeddingModel, ModelSpec, normalise

__all__ = [
    "INPUT_NAME",
    "OPSET",
    "OUTPUT_NAME",
    "backbone_nodes",
    "convolutions",
    "export_onnx",
    "read_onnx",
    "write_onnx",
]

INPUT_NAME = "images"
OUTPUT_NAME = "embeddings"
OPSET = 20


class _Graph(nn.Module):
    """The computation as exported."""

    def __init__(self, model: EmbeddingModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.embed(normalise(images))


def export_onnx(
    model: EmbeddingModel, spec: ModelSpec, path: Path | str, metadata: Mapping[str, str]
) -> None:
    """Write ``model`` as a float32 ONNX file; equal weights give equal bytes.

    The graph takes ``images``, uint8 ``(N, height, width, 3)`` in RGB order with N free, and gives
    ``embeddings``, float32 ``(N, D)`` of length one. BatchNorm is folded into the convolutions before it.

    Args:
        model: any mode and device; it is copied, not changed.
        spec: gives the input's height and width.
        path: where to write, whole or not at all.
        metadata: written into the file's metadata properties.

    Raises:
        ReidError: the exporter or the checker refuses the model.
    """
    # Two images: torch.export would take a batch of one for a constant.
    example = torch.zeros(2, spec.height, spec.width, 3, dtype=torch.uint8)
    try:
        with _quiet():
            graph = _Graph(_simplified(copy.deepcopy(model).cpu().eval())).eval()
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # the exporter passes on whatever any operator's conversion raises
        raise ReidError(
            f"backbone {spec.backbone} cannot be exported to ONNX: {' '.join(str(error).split())[:400]}"
        ) from error
    if program is None:
        raise ReidError(f"backbone {spec.backbone} cannot be exported to ONNX: the exporter gave no program")
    proto = program.model_proto
    _strip_traces(proto)
    onnx.helper.set_model_props(proto, {key: metadata[key] for key in sorted(metadata)})
    write_onnx(proto, path)


class _GlobalPooling(nn.Module):
    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.mean(dim=(2, 3), keepdim=True)


def _simplified(model: EmbeddingModel) -> EmbeddingModel:
    """Fold BatchNorm and spell out global pooling before tracing: the exporter takes longer and leaves
    gathers. Where a layer writes over its input it takes up to half as long again, to undo that.
    """
    for module in list(model.backbone.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
                setattr(module, name, _GlobalPooling())
    # A network whose forward asks for its input's size cannot be traced: there the runtimes fold BatchNorm
    # when they load the file.
    with suppress(TraceError, TypeError):
        fused = fuse(model.backbone, inplace=True)
        if isinstance(fused, GraphModule):
            _keep_inputs(fused)
        model.backbone = fused
    return model


def _keep_inputs(traced: GraphModule) -> None:
    """Let activations make a tensor of their own where nothing else reads the one that they write over."""
    layers = dict(traced.named_modules(remove_duplicate=False))
    alone: dict[nn.Module, bool] = {}
    for node in traced.graph.nodes:
        module = layers.get(node.target) if node.op == "call_module" else None
        if module is not None and getattr(module, "inplace", False) is True:
            alone[module] = alone.get(module, True) and _is_fresh(node.args[0], layers)
    for module, everywhere in alone.items():  # one activation may stand in several places
        if everywhere:
            module.inplace = False  # type: ignore[assignment]


def _is_fresh(node: Node, layers: Mapping[str, nn.Module]) -> bool:
    """Whether a tensor is read once and shares its memory with no other: of a layer, or a sum."""
    made = layers.get(node.target) if isinstance(node.target, str) else None
    layer = isinstance(made, nn.Conv2d | nn.BatchNorm2d | nn.Linear)
    return len(node.users) == 1 and (layer or node.target is operator.add)


def write_onnx(proto: onnx.ModelProto, path: Path | str) -> None:
    """Check a graph and write it as a single file, whole or not at all.

    Raises:
        ReidError: onnx's checker refuses it.
    """
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ReidError(
            f"ONNX graph for {Path(path).name} is not valid: {' '.join(str(error).split())[:400]}"
        ) from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))


def read_onnx(path: Path | str) -> onnx.ModelProto:
    """Read an ONNX file whose weights lie inside it.

    Raises:
        UsageError: the file does not exist.
        ReidError: it is truncated or no ONNX.
    """
    path = existing(path, "ONNX file")
    try:
        proto = onnx.load_model(path, load_external_data=False)
        onnx.checker.check_model(proto)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ReidError(f"{path} is not an ONNX file, or truncated: export the model again") from error
    return proto


def convolutions(proto: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the convolutions, in the graph's order."""
    return tuple(node.name for node in proto.graph.node if node.op_type == "Conv")


def backbone_nodes(proto: onnx.ModelProto) -> frozenset[str]:
    """Names of the nodes from the first layer to the last: what lower precision pays for, and what can bear
    it.

    Layers are convolutions; in a graph of more products with weights than convolutions (a transformer), those
    too. A metric folded in behind the embedding is none of them.
    """
    nodes = proto.graph.node
    weights = {tensor.name for tensor in proto.graph.initializer}
    products = {
        node.name
        for node in nodes
        if node.op_type in ("MatMul", "Gemm")
        and weights & set(node.input)
        and not node.name.startswith(PREFIX)
    }
    layers = set(convolutions(proto))
    if len(products) > len(layers):
        layers |= products
    behind: set[str] = set()  # tensors that a layer has a part in
    ahead: set[str] = set()  # tensors that have a part in a layer
    downstream = {node.name for node in nodes if _extend(behind, node, layers, node.input, node.output)}
    upstream = {
        node.name for node in reversed(nodes) if _extend(ahead, node, layers, node.output, node.input)
    }
    return frozenset(downstream & upstream)


def _extend(
    reached: set[str],
    node: onnx.NodeProto,
    layers: set[str],
    come_from: Iterable[str],
    go_to: Iterable[str],
) -> bool:
    if node.name not in layers and reached.isdisjoint(come_from):
        return False
    reached.update(go_to)
    return True


def _strip_traces(proto: onnx.ModelProto) -> None:
    """Remove the exporter's notes on Python stack frames: they name paths of this machine and make equal
    graphs differ.
    """
    graph = proto.graph
    del proto.metadata_props[:]
    del graph.metadata_props[:]
    for part in (graph.node, graph.input, graph.output, graph.value_info, graph.initializer):
        for item in part:
            del item.metadata_props[:]
            item.doc_string = ""
    graph.doc_string = proto.doc_string = ""
    graph.name = "reid"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's advice to its own developers off the screen; its errors still raise."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
