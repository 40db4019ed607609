"""The layouts of detectors: a module for each family, and which of them an answer is of."""

from serving.detection.layouts.answer import Answer, Layout, Pixels, Rows, grid_rows
from serving.detection.layouts.detr import DETR, RFDETR, RTDETR, is_relative, is_rfdetr
from serving.detection.layouts.dfine import DFINE, SIZES
from serving.detection.layouts.end2end import END2END
from serving.detection.layouts.ssd import SSD
from serving.detection.layouts.yolov5 import YOLOV5
from serving.detection.layouts.yolov8 import YOLOV8
from serving.detection.layouts.yolox import DECODED, YOLOX, is_decoded

__all__ = ["LAYOUTS", "SIZES", "Answer", "Layout", "Pixels", "Rows", "recognised", "said"]

LAYOUTS = {one.name: one for one in (YOLOX, YOLOV5, YOLOV8, END2END, SSD, DETR, RFDETR, RTDETR, DFINE)}


def said(name: str, answer: Answer) -> Layout | None:
    """The layout of that name, where the answer can be read so."""
    layout = LAYOUTS[name]
    if not layout.fits(answer):
        return None
    return DECODED if layout is YOLOX and is_decoded(answer) else layout


def recognised(answer: Answer) -> Layout | None:
    """The layout that the shapes and names of an answer are of; None of none that is known.

    Where shapes leave two, the numbers of this answer decide, which may be to any picture: YOLOv6 writes the
    shape of YOLOX with an objectness of 1 throughout.
    """
    for layout in (SSD, DFINE):
        if layout.fits(answer):
            return layout
    if DETR.fits(answer):
        return RFDETR if is_rfdetr(answer) else DETR
    table = answer.table()
    if table is None:
        return None
    cells = grid_rows(answer)
    _, rows, columns = table.shape
    if YOLOX.fits(answer):
        if (table[..., 4] == 1).all():
            return YOLOV5
        return DECODED if is_decoded(answer) else YOLOX
    if columns > 5 and rows in [3 * count for count in cells]:
        return YOLOV5
    if rows > 4 and columns in cells:
        return YOLOV8
    if [one.ndim for one in answer.outputs.values()] != [3]:
        return None  # masks or feature maps beside it, or no axis of pictures: as likely an embedder
    if RTDETR.fits(answer) and is_relative(answer):
        return RTDETR
    return END2END if columns == 6 else None
