"""D-FINE, DEIM and RT-DETR by their own exporters: ``labels`` (N, M), ``boxes`` (N, M, 4), ``scores`` (N, M).

The decoding is in the file, which has a second input ``orig_target_sizes`` (N, 2), width and height of what
boxes are to be in pixels of. It is given the network's own input size, so that boxes come out as those of the
other layouts do.
"""

from serving.detection.layouts.answer import Answer, Layout, Pixels, Rows

__all__ = ["DFINE", "SIZES"]

SIZES = "orig_target_sizes"


def _fits(answer: Answer) -> bool:
    outputs = answer.outputs
    return (
        {"labels", "boxes", "scores"} <= set(outputs)
        and outputs["boxes"].ndim == 3
        and outputs["labels"].shape == outputs["scores"].shape == outputs["boxes"].shape[:2]
    )


def _rows(answer: Answer, index: int) -> Rows:
    outputs = answer.outputs
    return Rows(
        outputs["boxes"][index],
        outputs["scores"][index],
        lambda boxes, at: boxes,
        classes=outputs["labels"][index],
    )


DFINE = Layout("dfine", Pixels("stretch", smooth=True), _fits, _rows, lambda answer: None, ordered=True)
