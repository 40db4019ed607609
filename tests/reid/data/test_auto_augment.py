"""The operations beside torchvision's, which takes one strength for all, and how often which is drawn."""

from collections.abc import Callable

import pytest
import torch
import torchvision.transforms.v2.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode

from reid.data.auto_augment import OPERATIONS, apply_operations, auto_augment

HEIGHT, WIDTH, EDGE = 48, 24, 16
NAMES = list(OPERATIONS)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def pictures(count: int) -> Tensor:
    """Smooth ones, whose darkest and brightest values differ from one to the next."""
    coarse = torch.rand(count, 3, 6, 3, generator=generator())
    span = torch.linspace(60, 250, count).view(-1, 1, 1, 1)
    smooth = torch.nn.functional.interpolate(coarse * span, (HEIGHT, WIDTH), mode="bicubic")
    return smooth.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def affine(image: Tensor, **how: object) -> Tensor:
    still = {"angle": 0.0, "translate": [0.0, 0.0], "scale": 1.0, "shear": [0.0, 0.0]}
    return F.affine(image, **still | how, interpolation=InterpolationMode.BILINEAR)  # type: ignore[arg-type]


def degrees_of_shear(strength: float) -> float:
    return float(torch.rad2deg(torch.atan(torch.tensor(0.3 * strength))))


THEIRS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "identity": lambda image, s: image,
    "shear_x": lambda image, s: affine(image, shear=[degrees_of_shear(s), 0.0]),
    "shear_y": lambda image, s: affine(image, shear=[0.0, degrees_of_shear(s)]),
    "translate_x": lambda image, s: affine(image, translate=[-s * 10 / 32 * WIDTH, 0.0]),
    "translate_y": lambda image, s: affine(image, translate=[0.0, -s * 10 / 32 * HEIGHT]),
    "rotate": lambda image, s: affine(image, angle=-30 * s),
    "brightness": lambda image, s: F.adjust_brightness(image, 1 + 0.9 * s),
    "contrast": lambda image, s: F.adjust_contrast(image, 1 + 0.9 * s),
    "saturation": lambda image, s: F.adjust_saturation(image, 1 + 0.9 * s),
    "sharpness": lambda image, s: F.adjust_sharpness(image, 1 + 0.9 * s),
    "posterise": lambda image, s: F.posterize(image, 8 - round(4 * abs(s))),
    "solarise": lambda image, s: F.solarize(image, 255 * (1 - abs(s))),
    "auto_contrast": lambda image, s: F.autocontrast(image),
    "equalise": lambda image, s: F.equalize(image),
}
MOVED = {"shear_x", "shear_y", "translate_x", "translate_y", "rotate"}


@pytest.mark.parametrize("name", NAMES)
def test_an_operation_is_torchvision_s(name: str) -> None:
    images, strengths = pictures(9), torch.linspace(-1, 1, 9)
    out = apply_operations(images, torch.full((9,), NAMES.index(name)), strengths)
    assert (out.dtype, out.shape) == (torch.uint8, images.shape)
    seen = 0
    for before, after, strength in zip(images, out, strengths.tolist(), strict=True):
        theirs = THEIRS[name](before.permute(2, 0, 1), strength).permute(1, 2, 0)
        # what comes from beyond the picture is filled otherwise there, and its outermost pixels stay blunt
        there = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
        if name in MOVED:
            there = (THEIRS[name](torch.full((1, HEIGHT, WIDTH), 255, dtype=torch.uint8), strength) == 255)[0]
        elif name == "sharpness":
            there[[0, -1]] = there[:, [0, -1]] = False
        apart = (after[there].int() - theirs[there].int()).abs()
        assert int(apart.max()) <= 2, strength
        assert float(apart.float().mean()) <= 1, strength  # it rounds down
        seen += int(there.sum())
    assert seen > 0.6 * 9 * HEIGHT * WIDTH
    changed = (out != images).flatten(1).any(1)
    assert bool(changed.any()) == (name != "identity")


def test_every_image_gets_its_own_operation_whatever_lies_beside_it() -> None:
    images, strengths = pictures(28), torch.rand(28, generator=generator()) * 2 - 1
    operations = torch.randperm(28, generator=generator()) % len(NAMES)
    together = apply_operations(images, operations, strengths)
    for row in range(28):
        one = slice(row, row + 1)
        assert torch.equal(together[one], apply_operations(images[one], operations[one], strengths[one]))
    assert apply_operations(images[:0], operations[:0], strengths[:0]).shape == (0, HEIGHT, WIDTH, 3)


def test_it_takes_its_share_and_all_operations_alike() -> None:
    images = pictures(9)[8:].expand(1400, HEIGHT, WIDTH, 3)
    out = auto_augment(images, 0.5, generator())
    kept = float((out == images).flatten(1).all(1).float().mean())
    assert 0.5 < kept < 0.6  # of the others the identity leaves a fourteenth, others where they are weak
    everyone = auto_augment(images, 1.0, generator())
    same = float((everyone == images).flatten(1).all(1).float().mean())
    assert 0.05 < same < 0.12
    darker = (everyone.float().mean((1, 2, 3)) < 0.5 * images[0].float().mean()).float().mean()
    assert 0.01 < float(darker) < 0.06  # a quarter of one operation, and some of others
    assert torch.equal(auto_augment(images, 0.0, generator()), images)


def test_the_generator_is_the_only_chance() -> None:
    one, two = (auto_augment(pictures(32), 0.7, generator()) for _ in range(2))
    assert torch.equal(one, two)
