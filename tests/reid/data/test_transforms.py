import io

import numpy as np
import torch
from PIL import Image

from reid.data.transforms import Augmentation, _jpeg_steps, augment, erase

STILL = Augmentation(flip=False, pad_crop=0, erasing=0.0, colour_jitter=0.0)


def images(count: int = 64) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 16, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_nothing_asked_nothing_done() -> None:
    assert torch.equal(augment(images(), STILL, generator()), images())


def test_flip_mirrors_about_half() -> None:
    out = augment(images(), Augmentation(True, 0, 0.0, 0.0), generator())
    same = (out == images()).flatten(1).all(1)
    mirrored = (out == images().flip(2)).flatten(1).all(1)
    assert bool((same ^ mirrored).all())
    assert 16 < int(mirrored.sum()) < 48


def test_shift_moves_content_by_at_most_the_padding() -> None:
    picture = torch.zeros(64, 16, 8, 3, dtype=torch.uint8)
    picture[:, 8, 4] = 255
    out = augment(picture, Augmentation(False, 2, 0.0, 0.0), generator())
    rows = out[..., 0].amax(2).argmax(1)
    columns = out[..., 0].amax(1).argmax(1)
    assert set((rows - 8).tolist()) == set((columns - 4).tolist()) == {-2, -1, 0, 1, 2}


def test_colour_changes_but_stays_a_picture() -> None:
    out = augment(images(), Augmentation(False, 0, 0.0, 0.3), generator())
    assert out.dtype == torch.uint8
    assert not torch.equal(out, images())


def test_erasing_takes_one_rectangle_of_its_share() -> None:
    out = erase(torch.ones(400, 3, 32, 16), 0.5, generator())
    gone = out[:, 0] == 0
    share = gone.flatten(1).float().mean(1)
    assert 140 < int((share > 0).sum()) < 260
    assert float(share.max()) < 0.45
    for mask in gone[share > 0][:20]:
        rows, columns = mask.any(1), mask.any(0)
        assert bool((mask == rows[:, None] & columns[None]).all())
    assert torch.equal(erase(torch.ones(8, 3, 4, 4), 0.0, generator()), torch.ones(8, 3, 4, 4))


def test_the_generator_is_the_only_chance() -> None:
    one, two = (augment(images(), Augmentation(), generator()) for _ in range(2))
    assert torch.equal(one, two)


CUT = Augmentation(False, 0, 0.0, 0.0, min_crop=0.3)


def test_a_cut_out_part_is_enlarged_to_the_whole() -> None:
    """On a ramp, how steep the picture has become says how large the part was."""
    ramp = torch.arange(0, 256, 4, dtype=torch.uint8).view(1, 64, 1, 1).expand(200, 64, 32, 3)
    out = augment(ramp, CUT, generator()).float()
    sides = (out[:, 48] - out[:, 16]).mean((1, 2)) / (4 * 32)
    assert 0.4 < float(sides.min()) < 0.6  # the root of 0.3, less or more by the sides' proportion
    assert 0.95 < float(sides.max()) <= 1.0
    first, last = out[:, 0].mean((1, 2)), out[:, -1].mean((1, 2))
    assert float(first.min()) < 10 and float(last.max()) > 245  # it reaches both ends
    assert float(first.max()) > 60
    whole = augment(images(), Augmentation(False, 0, 0.0, 0.0, min_crop=1.0), generator())
    assert torch.equal(whole, images())


def test_grey_takes_the_colours_of_its_share() -> None:
    out = augment(images(400), Augmentation(False, 0, 0.0, 0.0, grey=0.25), generator())
    grey = (out == out[..., :1]).flatten(1).all(1)
    assert 60 < int(grey.sum()) < 140
    assert torch.equal(out[~grey], images(400)[~grey])
    luminance = images(400)[grey].double() @ torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    assert float((out[grey][..., 0] - luminance).abs().max()) <= 0.51


def test_blur_spreads_a_point_and_keeps_its_light() -> None:
    point = torch.zeros(64, 224, 16, 3, dtype=torch.uint8)
    point[:, 112, 8] = 255
    out = augment(point, Augmentation(False, 0, 0.0, 0.0, blur=1.0), generator()).float()
    wide = out[:, 112, 8, 0] < 200
    assert int(wide.sum()) > 40
    assert float((out[..., 0].sum((1, 2)) - 255).abs().max()) < 40  # by rounding
    assert torch.equal(out[:, 112, 7], out[:, 112, 9]) and torch.equal(out[:, 111, 8], out[:, 112, 7])
    some = augment(point, Augmentation(False, 0, 0.0, 0.0, blur=0.5), generator())
    kept = (some == point).flatten(1).all(1)
    assert 16 < int(kept.sum()) < 56


def test_the_steps_of_compression_are_libjpeg_s() -> None:
    """Those that it writes into its files, at every quality that is drawn."""
    picture = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    for quality in range(10, 71):
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality)
        written = Image.open(stream).quantization  # type: ignore[attr-defined]
        ours = _jpeg_steps(torch.tensor([float(quality)]))[0]
        for channel, table in ((0, 0), (1, 1), (2, 1)):
            assert ours[..., channel].flatten().tolist() == written[table], quality


def test_compression_is_what_jpeg_does() -> None:
    """Beside libjpeg at qualities that are drawn: the same picture, but for its integers in the cosines.
    What it takes away is seen, and the last blocks go beyond the picture.
    """
    smooth = torch.nn.functional.interpolate(
        torch.rand(60, 3, 6, 3, generator=generator()) * 255, (45, 21), mode="bicubic"
    )
    whole = smooth.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    out = augment(whole, Augmentation(False, 0, 0.0, 0.0, compression=1.0), generator())
    qualities = (10 + 60 * torch.rand(2, 60, generator=generator())[1]).round().int()
    apart, lost = [], []
    for before, after, quality in zip(whole.numpy(), out.numpy(), qualities.tolist(), strict=True):
        stream = io.BytesIO()
        Image.fromarray(before).save(stream, "JPEG", quality=quality, subsampling="4:4:4")
        expected = np.asarray(Image.open(stream)).astype(int)
        apart.append(np.abs(after - expected).mean())
        lost.append(np.abs(before - expected).mean())
    assert np.mean(apart) < 0.93 < 3 < np.mean(lost)


def test_compression_takes_its_share() -> None:
    out = augment(images(400), Augmentation(False, 0, 0.0, 0.0, compression=0.25), generator())
    kept = (out == images(400)).flatten(1).all(1)
    assert 260 < int(kept.sum()) < 340


def test_views_of_one_image_differ_and_are_the_same_again() -> None:
    twice = images(8).repeat_interleave(2, 0)
    how = Augmentation(min_crop=0.4, grey=0.2, blur=0.5, compression=0.5, auto_augment=0.5)
    out, again = (augment(twice, how, generator()) for _ in range(2))
    assert torch.equal(out, again)
    assert not any(torch.equal(one, other) for one, other in zip(out[0::2], out[1::2], strict=True))


def test_everything_is_done_where_the_images_are() -> None:
    """The device ``meta`` stands in for a GPU: it calculates shapes, and refuses tensors of the processor."""
    everything = Augmentation(min_crop=0.5, grey=0.5, blur=0.5, compression=0.5, auto_augment=0.5)
    there = augment(images().to("meta"), everything, generator())
    assert (there.device.type, there.shape, there.dtype) == ("meta", images().shape, torch.uint8)
    assert erase(there.permute(0, 3, 1, 2).float(), 0.5, generator()).device.type == "meta"
