"""Each public data set in miniature: its exact folders and file names around files of a few bytes.

Every function takes the folder that torchreid would be given as its root and returns the folder a person
would set as data.root.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.io import savemat


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def market1501(root: Path) -> Path:
    base = root / "market1501" / "Market-1501-v15.09.15"
    touch(
        base / "bounding_box_train",
        "0002_c1s1_000451_03.jpg",
        "0002_c3s1_000551_01.jpg",
        "0007_c2s3_070952_01.jpg",
    )
    touch(base / "query", "0001_c1s1_001051_00.jpg", "0001_c2s1_000301_00.jpg")
    names = (
        "-1_c1s1_000401_03.jpg",
        "0000_c1s1_000151_01.jpg",
        "0001_c3s1_000051_00.jpg",
        "0001_c1s1_001051_03.jpg",
        "Thumbs.db",
    )
    touch(base / "bounding_box_test", *names)
    return root / "market1501"


def dukemtmcreid(root: Path) -> Path:
    base = root / "dukemtmc-reid" / "DukeMTMC-reID"
    touch(base / "bounding_box_train", "0001_c2_f0046182.jpg", "0001_c5_f0046302.jpg", "0013_c1_f0008822.jpg")
    touch(base / "query", "0005_c2_f0046985.jpg", "0005_c5_f0051781.jpg")
    touch(base / "bounding_box_test", "0005_c2_f0046605.jpg", "0005_c8_f0051781.jpg", "7000_c6_f0000001.jpg")
    return root / "dukemtmc-reid"


def _msmt17(root: Path, version: str, train: str, test: str) -> Path:
    base = root / "msmt17" / version
    lists = {
        "train": (
            train,
            ("0000/0000_000_01_0303morning_0015_0.jpg 0", "0001/0001_003_14_0303noon_0026_1.jpg 1"),
        ),
        "val": (train, ("0000/0000_009_02_0303morning_0020_0.jpg 0",)),
        "query": (test, ("0000/0000_001_03_0302afternoon_0744_0.jpg 0",)),
        "gallery": (
            test,
            ("0000/0000_002_11_0302afternoon_0745_1.jpg 0", "0007/0007_004_12_0302morning_0100_0.jpg 7"),
        ),
    }
    for name, (folder, lines) in lists.items():
        touch(base / folder, *(line.split()[0] for line in lines))
        (base / f"list_{name}.txt").write_text("\n".join(lines) + "\n")
    return root / "msmt17"


def msmt17_v1(root: Path) -> Path:
    return _msmt17(root, "MSMT17_V1", "train", "test")


def msmt17_v2(root: Path) -> Path:
    return _msmt17(root, "MSMT17_V2", "mask_train_v2", "mask_test_v2")


def cuhk03(root: Path) -> Path:
    """Images as extracted from cuhk-03.mat, and the protocol's files."""
    base = root / "cuhk03"
    names = [
        f"1_{person:03d}_{view}_{image:02d}.png"
        for person in (1, 2, 3)
        for view, image in ((1, 1), (1, 2), (2, 6), (2, 7))
    ]
    for boxes, first in (("detected", 0), ("labeled", 1)):
        touch(base / f"images_{boxes}", *names[first:])
        kept = names[first:]
        index = {name: number + 1 for number, name in enumerate(kept)}
        test = [name for name in kept if name.startswith("1_003")]
        savemat(
            base / f"cuhk03_new_protocol_config_{boxes}.mat",
            {
                "filelist": np.array([[name] for name in kept], dtype=object),
                "labels": np.array([[int(name[2:5])] for name in kept]),
                "train_idx": np.array([[index[name]] for name in kept if name not in test]),
                "query_idx": np.array([[index[test[0]]], [index[test[2]]]]),
                "gallery_idx": np.array([[index[test[1]]], [index[test[3]]]]),
            },
        )
    touch(base / "cuhk03_release", "cuhk-03.mat")
    return base


def cuhk03_np(root: Path) -> Path:
    base = root / "CUHK03-NP"
    for boxes in ("detected", "labeled"):
        touch(base / boxes / "bounding_box_train", "0001_c1_01.png", "0001_c2_06.png")
        touch(base / boxes / "query", "0003_c1_21.png")
        touch(base / boxes / "bounding_box_test", "0003_c2_26.png")
    return base


def cuhk02(root: Path) -> Path:
    for pair in range(1, 6):
        for camera in (1, 2):
            touch(
                root / "cuhk02" / "Dataset" / f"P{pair}" / f"cam{camera}",
                *(f"{n:03d}_{n}{camera}0{k}.png" for n in (1, 2) for k in (1, 2)),
            )
    return root / "cuhk02"


def cuhk01(root: Path) -> Path:
    touch(
        root / "cuhk01" / "campus",
        *(f"{person:04d}{image:03d}.png" for person in range(1, 8) for image in range(1, 5)),
    )
    return root / "cuhk01"


def viper(root: Path) -> Path:
    for camera, angle in (("a", 0), ("b", 90)):
        touch(
            root / "viper" / "VIPeR" / f"cam_{camera}", *(f"{person:03d}_{angle}.bmp" for person in range(9))
        )
    return root / "viper"


def prid(root: Path) -> Path:
    base = root / "prid2011" / "prid_2011" / "single_shot"
    touch(base / "cam_a", *(f"person_{person:04d}.png" for person in range(1, 386)))
    touch(base / "cam_b", *(f"person_{person:04d}.png" for person in range(1, 750)))
    return root / "prid2011"


def prid2011(root: Path) -> Path:
    people = [f"person_{number:04d}" for number in range(1, 6)]
    for camera in "ab":
        for person in people:
            touch(
                root / "prid2011" / "prid_2011" / "multi_shot" / f"cam_{camera}" / person,
                "0001.png",
                "0002.png",
            )
    splits = [{"train": people[:2], "test": people[2:4]}, {"train": people[2:4], "test": people[:2]}]
    (root / "prid2011" / "splits_prid2011.json").write_text(json.dumps(splits))
    return root / "prid2011"


def grid(root: Path) -> Path:
    base = root / "grid" / "underground_reid"
    touch(
        base / "probe",
        *(f"{person:04d}_{1 + person % 4}_25004_107_32_106_221.jpeg" for person in range(1, 251)),
    )
    touch(
        base / "gallery",
        *(f"{person:04d}_{5 + person % 4}_25023_115_72_137_258.jpeg" for person in range(1, 251)),
    )
    touch(base / "gallery", *(f"0000_{1 + n % 8}_2{n:04d}_1_2_3_4.jpeg" for n in range(5)))
    cells = np.empty((1, 10), dtype=object)
    for number in range(10):
        training = np.sort(np.random.default_rng(number).permutation(np.arange(1, 251))[:125])
        cells[0, number] = {"probe": np.zeros((1, 1)), "gallery": np.zeros((1, 1)), "train": training[None]}
    savemat(base / "features_and_partitions.mat", {"trainIdxAll": cells})
    return root / "grid"


def ilids(root: Path) -> Path:
    """All 119 people with 476 images: torchreid refuses any other number."""
    folder = root / "ilids" / "i-LIDS_Pedestrian" / "Persons"
    touch(folder, *(f"{person:04d}{image:03d}.jpg" for person in range(1, 120) for image in range(1, 5)))
    return root / "ilids"


def sensereid(root: Path) -> Path:
    touch(root / "sensereid" / "SenseReID" / "test_probe", "00001_0.jpg", "00002_0.jpg")
    touch(root / "sensereid" / "SenseReID" / "test_gallery", "00001_1.jpg", "00002_1.jpg", "00900_1.jpg")
    return root / "sensereid"


def occluded_reid(root: Path) -> Path:
    for folder in ("occluded_body_images", "whole_body_images"):
        touch(
            root / "Occluded_REID" / folder,
            *(f"{person:03d}/{person:03d}_{image:02d}.tif" for person in (1, 2) for image in (1, 2)),
        )
    return root / "Occluded_REID"


def mars(root: Path) -> Path:
    base = root / "mars"
    train = ["0001C1T0001F001.jpg", "0001C1T0001F002.jpg", "0001C2T0001F001.jpg", "0003C6T0002F005.jpg"]
    test = ["00-1C1T0001F001.jpg", "0000C1T0001F001.jpg", "0002C1T0001F001.jpg", "0002C1T0001F002.jpg"]
    test += ["0002C3T0001F001.jpg", "0002C3T0002F001.jpg"]
    for folder, names in (("bbox_train", train), ("bbox_test", test)):
        touch(base / folder, *(f"{name[:4]}/{name}" for name in names))
    (base / "info").mkdir()
    (base / "info/train_name.txt").write_text("\n".join(train) + "\n")
    (base / "info/test_name.txt").write_text("\n".join(test) + "\n")
    savemat(
        base / "info/tracks_train_info.mat",
        {"track_train_info": np.array([[1, 2, 1, 1], [3, 3, 1, 2], [4, 4, 3, 6]])},
    )
    testing = np.array([[1, 1, -1, 1], [2, 2, 0, 1], [3, 4, 2, 1], [5, 5, 2, 3], [6, 6, 2, 3]])
    savemat(base / "info/tracks_test_info.mat", {"track_test_info": testing})
    savemat(base / "info/query_IDX.mat", {"query_IDX": np.array([[3], [4]])})
    return base


def ilidsvid(root: Path) -> Path:
    base = root / "ilids-vid"
    people = [f"person{number:03d}" for number in range(1, 301)]
    for camera in (1, 2):
        for person in people:
            touch(base / "i-LIDS-VID/sequences" / f"cam{camera}" / person, f"cam{camera}_{person}_00317.png")
    touch(base / "i-LIDS-VID/sequences/cam1/person001", "cam1_person001_00318.png")
    order = np.stack([np.random.default_rng(number).permutation(300) + 1 for number in range(10)])
    (base / "train-test people splits").mkdir()
    savemat(base / "train-test people splits/train_test_splits_ilidsvid.mat", {"ls_set": order})
    return base


def lfw(root: Path, lines: Iterable[str]) -> Path:
    touch(
        root / "lfw",
        *(f"{name}/{name}_{number:04d}.jpg" for name in ("Ann_A", "Bob_B", "Cy_C") for number in (1, 2)),
    )
    (root / "pairs.txt").write_text("\n".join(lines) + "\n")
    return root
