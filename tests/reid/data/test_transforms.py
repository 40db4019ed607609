import torch

from reid.data.transforms import Augmentation, augment, erase

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
