"""Which layers stay in float32 so that a lower precision keeps the model's answers: as few as it takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reid.parity import ParityReport

__all__ = ["Fallback", "leading", "most_sensitive"]

Attempt = Callable[[Sequence[str]], ParityReport]
# Few steps, each about half as many layers again: an attempt converts and runs the whole file.
_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


@dataclass(frozen=True)
class Fallback:
    """``kept`` are the layers left in float32; ``parity`` is what that gave on the crops it was chosen
    with.
    """

    kept: tuple[str, ...]
    parity: ParityReport


def leading(layers: Sequence[str], attempt: Attempt, enough: Callable[[ParityReport], bool]) -> Fallback:
    """Keep the first layers, more of them until it is enough.

    For float16: rounding hurts where small inputs meet large weights, and folding BatchNorm makes such
    weights in the first layers.

    Args:
        layers: convolutions in the graph's order.
        attempt: convert with these layers kept, and compare with the trained model.
        enough: the goal.

    Returns:
        The first choice that is enough, else the best seen; at most half of the layers are kept.
    """
    return _first_enough(layers, attempt, enough, attempt(()), len(layers) // 2)


def most_sensitive(
    layers: Sequence[str],
    attempt: Attempt,
    enough: Callable[[ParityReport], bool],
    affordable: Callable[[Sequence[str]], bool],
) -> Fallback:
    """Keep the layers that win most when each alone is kept, more of them until it is enough.

    What each wins is measured only if converting everything is not enough.

    Args:
        layers: convolutions.
        attempt: convert with these layers kept, and compare with the trained model.
        enough: the goal.
        affordable: whether these layers may be kept together.

    Returns:
        The first choice that is enough, else the best seen.
    """
    whole = attempt(())
    if enough(whole):
        return Fallback((), whole)
    # The median: one odd image that overflows a layer's range says nothing about the layer.
    won = {layer: attempt((layer,)).median - whole.median for layer in layers if affordable((layer,))}
    order: list[str] = []
    for layer in sorted(won, key=lambda one: -won[one]):
        if affordable([*order, layer]):
            order.append(layer)
    return _first_enough(order, attempt, enough, whole, len(order))


def _first_enough(
    order: Sequence[str],
    attempt: Attempt,
    enough: Callable[[ParityReport], bool],
    whole: ParityReport,
    most: int,
) -> Fallback:
    best = Fallback((), whole)
    for count in _COUNTS:
        if enough(best.parity) or count > most:
            break
        kept = tuple(order[:count])
        parity = attempt(kept)
        if enough(parity) or parity.mean > best.parity.mean:
            best = Fallback(kept, parity)
    return best
