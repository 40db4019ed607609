"""MOTChallenge files as the publishers of MOT15, MOT16 and of detectors write them."""

from pathlib import Path

from reid.mot import mot_rows, read_mot


def test_what_a_line_does_not_tell_is_one(tmp_path: Path) -> None:
    path = tmp_path / "gt.txt"
    path.write_text(
        "1,7,30,20,10,30\n"
        "2,7,30.5,20,10,30,0\n\n"
        "3 8 30 20 10 30 0.5 -1 -1 -1\n"  # MOT15: places in 3D
        "4,8,30,20,10,30,1,3,0.25\n"  # MOT16: class and visibility
    )
    assert mot_rows(path).tolist() == [
        [1, 7, 30, 20, 10, 30, 1, 1, 1],
        [2, 7, 30.5, 20, 10, 30, 0, 1, 1],
        [3, 8, 30, 20, 10, 30, 0.5, 1, 1],
        [4, 8, 30, 20, 10, 30, 1, 3, 0.25],
    ]
    table = read_mot(path)
    assert table.confidence.tolist() == [1, 0, 0.5, 1]
    assert table.xyxy[1].tolist() == [30.5, 20, 40.5, 50]
