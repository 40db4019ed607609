"""What MLflow runs to load a logged model: this file, copied beside the weights. Nothing of it is pickled."""

from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt


class PersonEmbedder(mlflow.pyfunc.PythonModel):
    """Images (N, H, W, 3) uint8 RGB of the size in the signature to L2-normalised embeddings (N, D)
    float32.
    """

    def load_context(self, context: Any) -> None:
        """Read the weights."""
        from reid.models.embedder import load_model

        self.model, _ = load_model(context.artifacts["model"])

    # A plain ndarray: most other types MLflow takes for a schema of its own, and for none it gives advice.
    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> npt.NDArray[np.float32]:
        """Embed."""
        from reid.models.inference import embed_images

        return embed_images(self.model, np.asarray(model_input, np.uint8))


mlflow.models.set_model(PersonEmbedder())
