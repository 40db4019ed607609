"""What has changed in a fixed camera's picture, and what packets tell of it, on plain numbers."""

from collections.abc import Iterator

import numpy as np

from serving.detection import Background, PacketSizes, cell_mask
from serving.video import Size

GRID, SIZE, FPS = (30, 40), Size(320, 240), 10
BOX = np.array([[160, 80, 184, 144]], np.float32)


def ground(noise: float = 0.3) -> Iterator[np.ndarray]:
    random = np.random.default_rng(0)
    still = random.uniform(80, 160, GRID)
    while True:
        yield np.round(still + random.normal(0, noise, GRID)).astype(np.uint8)


def stands(cells: np.ndarray, x: int = 20) -> np.ndarray:
    cells = cells.copy()
    cells[10:18, max(x, 0) : x + 3] = 30
    return cells


def looks(background: Background, pictures: list[np.ndarray], masks: bool = False) -> list[bool]:
    mask = cell_mask(BOX, GRID, SIZE) if masks else None
    return [background.look(one, number / FPS, mask).changed for number, one in enumerate(pictures)]


def test_the_background_learns_nothing_under_people() -> None:
    for masked in (True, False):
        cells, background = ground(), Background(GRID, SIZE)
        looks(background, [next(cells) for _ in range(50)])
        standing = [
            background.look(stands(next(cells)), 5 + n / FPS, cell_mask(BOX, GRID, SIZE) if masked else None)
            for n in range(600)
        ]
        assert standing[-1].changed == masked  # a chair that was put there is ground after a minute
        assert all(one.changed for one in standing[:20])
        gone = background.look(next(cells), 65.1)
        assert gone.changed != masked  # and where she stood the ground is as it was


def test_who_walks_by_leaves_no_trace() -> None:
    cells, background = ground(), Background(GRID, SIZE)
    looks(background, [next(cells) for _ in range(50)])
    walking = [background.look(stands(next(cells), x), 5 + x / FPS).changed for x in range(-2, 40)]
    assert all(walking)
    assert not any(background.look(next(cells), 9 + n / FPS).changed for n in range(30))


def test_noise_is_the_footage_s_own() -> None:
    for noise in (0.0, 0.5, 1.2):
        cells = ground(noise)
        changed = looks(Background(GRID, SIZE), [next(cells) for _ in range(200)])
        assert changed[0]
        assert sum(changed[50:]) <= 2
    cells, background = ground(1.2), Background(GRID, SIZE)
    looks(background, [next(cells) for _ in range(200)])
    assert background.differs(stands(next(cells)))


def test_a_camera_that_is_moved_is_told_from_a_lamp() -> None:
    cells, background = ground(), Background(GRID, SIZE)
    still = [next(cells) for _ in range(50)]
    looks(background, still)
    lamp = background.look((still[-1] * 0.7).astype(np.uint8), 5.0)
    moved = background.look((np.roll(still[-1], 7, axis=1) * 0.7).astype(np.uint8), 5.1)
    assert (lamp.whole, lamp.moved, moved.whole, moved.moved) == (True, False, True, True)


def test_larger_packets_are_not_usual() -> None:
    random = np.random.default_rng(0)

    def group(extra: int = 0) -> np.ndarray:
        sizes = random.normal(400, 40, 19)
        sizes[8:14] += extra
        return sizes.astype(np.int32)

    sizes = PacketSizes(FPS)
    assert not sizes.usual(group())  # nothing is known yet
    for _ in range(10):
        sizes.learn(group())
    assert sum(sizes.usual(group()) for _ in range(100)) > 90
    assert not any(sizes.usual(group(200)) for _ in range(100))


def test_packets_that_were_filled_up_tell_nothing() -> None:
    sizes = PacketSizes(FPS)
    full, tiny = np.full(19, 2000, np.int32), np.full(19, 12, np.int32)
    sizes.learn(full)
    assert not sizes.usual(full)
    still = PacketSizes(FPS)
    still.learn(tiny)
    assert still.usual(tiny)  # nothing at all has changed
    assert not still.usual(np.full(19, 60, np.int32))
