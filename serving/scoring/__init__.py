"""How right a job was, against truth; and crops of known people out of footage with truth (module
``crops``).
"""

from serving.scoring.names import NameAccuracy, plain, read_people, true_identities
from serving.scoring.tracking import CameraScore, score_job

__all__ = ["CameraScore", "NameAccuracy", "crops", "plain", "read_people", "score_job", "true_identities"]
