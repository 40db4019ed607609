"""Readers: each turns a data set on disk into catalog records, to the set's official protocol. Torch-free."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reid.data.catalog import Record
from reid.data.datasets.cuhk01 import read_cuhk01
from reid.data.datasets.cuhk02 import read_cuhk02
from reid.data.datasets.cuhk03 import read_cuhk03_detected, read_cuhk03_labelled
from reid.data.datasets.dukemtmcreid import read_dukemtmcreid
from reid.data.datasets.folder import read_folder
from reid.data.datasets.footage import cut_footage
from reid.data.datasets.grid import read_grid
from reid.data.datasets.ilids import read_ilids
from reid.data.datasets.ilidsvid import read_ilidsvid
from reid.data.datasets.lfw import read_lfw_pairs
from reid.data.datasets.market1501 import read_market1501
from reid.data.datasets.mars import read_mars
from reid.data.datasets.msmt17 import read_msmt17
from reid.data.datasets.occluded_reid import read_occluded_reid
from reid.data.datasets.prid2011 import read_prid, read_prid2011
from reid.data.datasets.sensereid import read_sensereid
from reid.data.datasets.table import read_table
from reid.data.datasets.viper import read_viper
from reid.errors import UsageError

__all__ = [
    "DATASETS",
    "DataSet",
    "cut_footage",
    "read_dataset",
    "read_folder",
    "read_lfw_pairs",
    "read_market1501",
    "read_table",
]


@dataclass(frozen=True)
class DataSet:
    """A public data set.

    Attributes:
        read: its reader, called with the root and the number of a partition.
        partitions: how many ways into training and test people its protocol has.
        note: what whoever uses it should know; shown by the prepare stage.
    """

    read: Callable[[Path, int], list[Record]]
    partitions: int = 1
    note: str = ""


DATASETS: dict[str, DataSet] = {
    "cuhk01": DataSet(
        read_cuhk01, 20, "the partitions are random: report the mean over all; overlaps with CUHK02"
    ),
    "cuhk02": DataSet(read_cuhk02, 1, "overlaps with CUHK01"),
    "cuhk03_detected": DataSet(read_cuhk03_detected),
    "cuhk03_labelled": DataSet(read_cuhk03_labelled),
    "dukemtmcreid": DataSet(
        read_dukemtmcreid,
        1,
        "withdrawn by its authors in 2019, filmed without consent: start nothing new on it",
    ),
    "grid": DataSet(read_grid, 10, "report the mean over all partitions"),
    "ilids": DataSet(
        read_ilids, 10, "no cameras are told: each image of a person counts as a camera of its own"
    ),
    "ilidsvid": DataSet(read_ilidsvid, 10, "report the mean over all partitions"),
    "market1501": DataSet(read_market1501),
    "mars": DataSet(read_mars),
    "msmt17": DataSet(read_msmt17),
    "occluded_reid": DataSet(read_occluded_reid, 1, "for testing only: there is nothing to train on"),
    "prid": DataSet(read_prid, 10, "the partitions are random: report the mean over all"),
    "prid2011": DataSet(read_prid2011, 10, "report the mean over all partitions"),
    "sensereid": DataSet(read_sensereid, 1, "for testing only: there is nothing to train on"),
    "viper": DataSet(read_viper, 20, "the partitions are random: report the mean over all"),
}


def read_dataset(name: str, root: Path, partition: int = 0) -> list[Record]:
    """Records of a data set by its name in `DATASETS`.

    Raises:
        UsageError: the name is unknown, the folder is missing or another set's, or there is no such
            partition.
        ReidError: a file of the set is not as its protocol says.
    """
    if name not in DATASETS:
        raise UsageError(f"data set {name!r} is unknown: choose one of {', '.join(DATASETS)}")
    if not root.is_dir():
        raise UsageError(f"data folder {root} does not exist: set data.root to the unpacked {name}")
    count = DATASETS[name].partitions
    if not 0 <= partition < count:
        raise UsageError(
            f"data.partition is {partition}, but {name} has "
            f"{'one partition, 0' if count == 1 else f'partitions 0 to {count - 1}'}"
        )
    return DATASETS[name].read(root, partition)
