"""A camera job: footage in, an output folder out.

The modules named here are imported one by one by whoever needs them: reading a finished job must not load
what runs one.
"""

from serving.spec import load_job

__all__ = [
    "afterwards",
    "corrections",
    "dashboard",
    "layout",
    "load_job",
    "progress",
    "publication",
    "record",
    "report",
    "run",
    "sightings",
    "stranger_file",
    "tracks",
]
