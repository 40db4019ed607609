"""The job file, validated before anything runs.

Paths in the file are relative to the file itself, so a job folder can be moved.
"""

from serving.spec.job_file import check_job, load_job, source_files
from serving.spec.models import (
    RECOGNISED,
    AdaptiveSpec,
    Camera,
    CropSpec,
    DetectorSpec,
    IdleSpec,
    Job,
    JoinSpec,
    LinkSpec,
    Outputs,
    TrackerSpec,
    TravelSpec,
)

__all__ = [
    "RECOGNISED",
    "AdaptiveSpec",
    "Camera",
    "CropSpec",
    "DetectorSpec",
    "IdleSpec",
    "Job",
    "JoinSpec",
    "LinkSpec",
    "Outputs",
    "TrackerSpec",
    "TravelSpec",
    "check_job",
    "load_job",
    "source_files",
]
