"""What the stage prepare is tested on."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

ROOT = Path(__file__).parents[2]


def configure(**data: Any) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    policies = data.pop("policies", {})
    params["data"] |= data
    params["data"]["policies"] |= policies
    params["synthetic"] |= {
        "people": 10,
        "cameras": 2,
        "images_per_camera": 2,
        "footage_people": 2,
        "footage_seconds": 6.0,
    }
    Path("params.yaml").write_text(yaml.safe_dump(params))


def pictures(root: Path, people: int = 8, cameras: str = "12", images: int = 2) -> Path:
    root.mkdir()
    for person in range(people):
        generator = np.random.default_rng(person)
        for camera in cameras:
            for image in range(images):
                coarse = generator.integers(0, 255, (8, 4, 3), np.uint8)
                cv2.imwrite(
                    str(root / f"{person:03d}_c{camera}_{image}.png"),
                    cv2.resize(coarse, (48, 96), interpolation=cv2.INTER_CUBIC),
                )
    return root
