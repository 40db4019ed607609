"""What the network is given, against a loop over its pixels."""

import cv2
import numpy as np
import pytest
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional

from serving.detection.layouts import LAYOUTS
from serving.detection.placing import blob_of, place

PICTURE = np.random.default_rng(2).integers(0, 256, (45, 81, 3), np.uint8)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_input_is_what_the_layout_says(name: str) -> None:
    pixels = LAYOUTS[name].pixels
    placed = place(PICTURE.shape[:2], (64, 64), pixels.place)
    blob = blob_of([PICTURE, 255 - PICTURE], placed, pixels, "float32")
    stretched = pixels.place == "stretch"
    assert blob.shape == (2, 3, 64, 64)
    inner = (64, 64) if stretched else (36, 64)
    top = (64 - inner[0]) // 2 if pixels.place == "centre" else 0
    small: np.ndarray = cv2.resize(PICTURE, inner[::-1], interpolation=cv2.INTER_LINEAR)
    if pixels.smooth:
        small = np.asarray(Image.fromarray(PICTURE).resize(inner[::-1], Image.Resampling.BILINEAR))
    canvas = np.full((64, 64, 3), 114, np.float64)
    canvas[top : top + inner[0]] = small
    for channel in range(3):
        source = channel if pixels.colour == "bgr" else 2 - channel
        wanted = (canvas[..., source] * pixels.scale - pixels.mean[channel]) / pixels.std[channel]
        np.testing.assert_allclose(blob[0, channel], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["detr", "dfine", "rfdetr"])
def test_it_is_what_the_family_s_own_code_gives_its_network(name: str) -> None:
    """RT-DETR and D-FINE take ``Resize`` and ``ToTensor`` of a picture of Pillow's (their
    ``references/deploy`` and ``tools/inference``), RF-DETR resizes the tensor without averaging and
    normalises (``rfdetr/export``).
    """
    frame = np.random.default_rng(3).integers(0, 256, (270, 480, 3), np.uint8)
    picture, size = Image.fromarray(np.ascontiguousarray(frame[..., ::-1])), [64, 96]
    if name == "rfdetr":
        tensor = functional.resize(functional.to_tensor(picture), size, antialias=False)
        wanted = functional.normalize(tensor, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    else:
        wanted = transforms.Compose([transforms.Resize(size), transforms.ToTensor()])(picture)
    pixels = LAYOUTS[name].pixels
    blob = blob_of([frame], place(frame.shape[:2], (64, 96), pixels.place), pixels, "float32")
    # RF-DETR resizes floats, OpenCV bytes in fixed point: less than a level of 255 apart.
    level = 1 / 255 / 0.224 if name == "rfdetr" else 0
    np.testing.assert_allclose(blob[0], wanted.numpy(), atol=level + 1e-5)


def test_padding_is_left_out_down_to_a_multiple() -> None:
    placed = place((90, 320), (416, 416), "centre", 32)
    assert (placed.height, placed.width, placed.inner) == (128, 416, (117, 416))
    assert (placed.left, placed.top) == (0, 5)
    np.testing.assert_allclose(placed.back(np.array([[0, 5, 416, 122]], np.float32)), [[0, 0, 320, 90]])


def test_bytes_are_given_as_they_are_and_halves_rounded() -> None:
    pixels = LAYOUTS["yolov8"].pixels
    placed = place((64, 64), (64, 64), "centre")
    picture = np.full((64, 64, 3), (1, 2, 200), np.uint8)
    plain = blob_of([picture], placed, pixels, "uint8")
    assert plain.dtype == np.uint8 and plain[0, :, 0, 0].tolist() == [200, 2, 1]
    half = blob_of([picture], placed, pixels, "float16")
    assert half.dtype == np.float16 and half[0, 0, 0, 0] == np.float16(200 / 255)
