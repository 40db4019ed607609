"""Values that the processor can look at without waiting.

A GPU works through what it was given while the processor prepares what comes next. To look at a number there
means to wait until everything before is done, and then nothing is prepared: a training step that does so
leaves the GPU idle.
"""

from torch import Tensor

__all__ = ["is_near"]


def is_near(tensor: Tensor) -> bool:
    """Whether a tensor is in the processor's own memory."""
    return tensor.device.type == "cpu"
