"""A trunk's layers in the order in which they run, some of them exchanged for faster ones."""

import math
from typing import Any

from torch import Tensor, fx, nn
from torch.nn import functional

from reid.training.on_cpu import team
from reid.training.on_cpu.batch_norm import NormClamp
from reid.training.on_cpu.convolution import Convolution

__all__ = ["CpuTrunk"]

_BOUNDS: dict[Any, tuple[float, float]] = {
    nn.ReLU6: (0, 6),
    nn.ReLU: (0, math.inf),
    functional.relu: (0, math.inf),
}


class CpuTrunk:
    """Training passes of a trunk on a processor: the outputs and gradients of torch's, but for rounding, in
    less time.

    Weights, statistics and names stay the trunk's own. In evaluation mode it runs as it is, and so does one
    in training whose layers cannot be traced, such as a transformer that looks at its input's shape.

    Args:
        trunk: in training mode.
    """

    def __init__(self, trunk: nn.Module) -> None:
        self.trunk = trunk
        self.passes = trunk
        try:
            passes = fx.GraphModule(trunk, _Tracer().trace(trunk))
        except (fx.proxy.TraceError, TypeError):
            return
        self.passes = passes
        layers = dict(passes.named_modules())
        for number, node in enumerate(list(passes.graph.nodes)):
            faster = self._faster(node, layers, passes.graph)
            if faster is not None:
                node.target = f"faster_{number}"
                passes.add_module(node.target, faster)
        passes.recompile()

    def __call__(self, images: Tensor) -> Tensor:
        """Feature maps of normalised images."""
        return self.passes(images) if self.trunk.training else self.trunk(images)

    def _faster(self, node: fx.Node, layers: dict[str, nn.Module], graph: fx.Graph) -> nn.Module | None:
        layer = _layer(node, layers)
        if type(layer) is nn.Conv2d:
            return Convolution(layer)
        if type(layer) is not nn.BatchNorm2d or not (
            layer.affine and layer.track_running_stats and layer.momentum and team.available()
        ):
            return None
        if len(node.users) == 1:
            (behind,) = node.users
            bounds = _BOUNDS.get(
                behind.target if behind.op == "call_function" else type(_layer(behind, layers))
            )
            if bounds is not None:
                behind.replace_all_uses_with(node)
                graph.erase_node(behind)
                return NormClamp(layer, *bounds)
        return NormClamp(layer, -math.inf, math.inf)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Batch normalisation over several workers is no layer of torch's, and cannot be looked into."""
        return isinstance(m, nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def _layer(node: fx.Node, layers: dict[str, nn.Module]) -> nn.Module | None:
    return layers.get(str(node.target)) if node.op == "call_module" else None
