"""Pictures of a trained model on its validation people, for MLflow."""

from pathlib import Path

from reid.config import Params
from reid.data.catalog import Catalog
from reid.data.store import open_store
from reid.evaluation.plots import plot_class_tree, plot_cmc, plot_distance_histogram
from reid.evaluation.report import EmbeddedSet, draw_images, judge
from reid.evaluation.within_camera import seen_by_two, views
from reid.model_files import TREE, WEIGHTS

__all__ = ["draw_training"]


def draw_training(params: Params, validation: Catalog, model_dir: Path, out: Path) -> None:
    """Draw CMC, distances, ranked lists, hardest pairs and a t-SNE map of the validation people, and the
    class tree where there is one.

    Args:
        params: all parameters.
        validation: the validation people; every image asks all others. Where nobody can be found only the
            tree is drawn.
        model_dir: with ``model.safetensors`` and perhaps ``tree.npz``.
        out: an existing folder.
    """
    from reid.metric.class_tree import ClassTree
    from reid.models.embedder import load_model
    from reid.models.inference import embed_images

    if (model_dir / TREE).exists():
        tree = ClassTree.load(model_dir / TREE)
        plot_class_tree(tree.linkage, out / "class_tree.png", thresholds=tree.thresholds)
    if len(validation) == 0:
        return
    model, spec = load_model(model_dir / WEIGHTS)
    images = open_store(validation, spec.height, spec.width)
    ranked = views(validation.identities, validation.cameras, validation.order)
    rows = ranked.rows
    identities = validation.identities[ranked.rows]
    paths = validation.paths
    if not seen_by_two(identities, ranked.cameras) or len(set(identities.tolist())) < 2:
        return
    shown = [paths[row] for row in rows.tolist()]
    people = EmbeddedSet(
        embed_images(model, images)[rows], identities, ranked.cameras, shown, within_camera=ranked.within
    )
    judged = judge(people, people, bootstrap=0, seed=params.seed)
    plot_cmc({"validation people": judged.report.cmc}, out / "cmc.png")
    plot_distance_histogram(
        judged.distances, judged.same, out / "distances.png", threshold=judged.verification.threshold
    )
    draw_images(people, people, judged, out, queries=params.evaluate.ranked_queries, seed=params.seed)
