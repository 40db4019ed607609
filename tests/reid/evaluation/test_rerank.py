"""Re-ranking against the authors' dense code as torchreid ships it, and short lists against loops."""

import numpy as np
import pytest
from torchreid.reid.utils.rerank import re_ranking

from reid.errors import ReidError, UsageError
from reid.evaluation import distances_between, rank_distances, rank_gallery
from reid.evaluation.blocks import block_memory
from reid.evaluation.rerank import expand_queries, k_reciprocal, rescore_short_list


def people(seed, persons=15, images=12, dim=8, noise=0.8):
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(persons), images)
    rows = (rng.standard_normal((persons, dim))[ids] + noise * rng.standard_normal((len(ids), dim))).astype(
        np.float32
    )
    query = np.arange(len(ids)) % images == 0
    return rows[query], ids[query], rows[~query], ids[~query]


def plain(first, second):
    return np.linalg.norm(first[:, None].astype(np.float64) - second[None].astype(np.float64), axis=-1)


@pytest.mark.parametrize(
    ("k1", "k2", "weight"), [(20, 6, 0.3), (7, 1, 0.0), (5, 3, 0.9), (20, 6, 1.0), (3, 4, 0.1)]
)
@pytest.mark.parametrize("block_bytes", [2**26, 11 * 4 * 180])
def test_agrees_with_the_authors_code(k1, k2, weight, block_bytes):
    for seed in range(3):
        query, _, gallery, _ = people(seed)
        theirs = re_ranking(
            plain(query, gallery), plain(query, query), plain(gallery, gallery), k1, k2, weight
        )
        with block_memory(block_bytes):
            ours = k_reciprocal(query, gallery, k1=k1, k2=k2, lambda_value=weight)
        np.testing.assert_allclose(ours(np.arange(len(query))), theirs, atol=2e-6)
        np.testing.assert_allclose(ours(np.asarray([9, 2])), theirs[[9, 2]], atol=2e-6)


def test_raises_mean_ap_of_clustered_people():
    query, query_ids, gallery, gallery_ids = people(1, noise=0.8)
    cams = np.zeros(len(query_ids), int), np.ones(len(gallery_ids), int)
    before = rank_gallery(query, query_ids, cams[0], gallery, gallery_ids, cams[1])
    for better in (
        rank_distances(
            k_reciprocal(query, gallery, k1=10, k2=4),
            query_ids,
            cams[0],
            gallery_ids,
            cams[1],
            name="k-reciprocal",
        ),
        rank_gallery(
            expand_queries(query, gallery), query_ids, cams[0], gallery, gallery_ids, cams[1], "cosine"
        ),
        rank_gallery(
            expand_queries(query, gallery, alpha=3),
            query_ids,
            cams[0],
            gallery,
            gallery_ids,
            cams[1],
            "cosine",
        ),
    ):
        assert better.mean_ap > before.mean_ap + 0.02


def test_expansion_agrees_with_a_loop():
    query, _, gallery, _ = people(2)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (query, gallery)]
    for alpha in (0, 3):
        found = expand_queries(query, gallery, neighbours=4, alpha=alpha)
        for row, probe in enumerate(unit[0]):
            cosines = unit[1] @ probe
            nearest = np.argsort(-cosines)[:4]
            mean = probe + sum(max(cosines[j], 0) ** alpha * unit[1][j] for j in nearest)
            np.testing.assert_allclose(found[row], mean / np.linalg.norm(mean), atol=1e-5)


def test_short_list_is_reordered_and_the_rest_stays_behind():
    query, _, gallery, _ = people(3)
    asked = []

    def base(rows):
        return distances_between(query, gallery)(rows) / 100  # below every score

    def score(row, columns):
        asked.append((row, len(columns)))
        return 0.5 + columns / 1000  # a metric that likes low row numbers

    block = rescore_short_list(base, score, length=10)(np.asarray([4, 0]))
    assert asked == [(4, 10), (0, 10)]
    for line, distances in zip(block, plain(query[[4, 0]], gallery), strict=True):
        order, before = np.argsort(line, kind="stable"), np.argsort(distances)
        assert order[:10].tolist() == sorted(before[:10].tolist())
        assert order[10:].tolist() == before[10:].tolist()
    with pytest.raises(ReidError, match=r"outside 0\.\.1"):
        rescore_short_list(base, lambda row, columns: columns + 1.0)(np.asarray([0]))


def test_bad_input_is_named():
    query, _, gallery, _ = people(0)
    for options in ({"k1": 0}, {"k2": 0}, {"k2": 40}, {"lambda_value": 1.5}):
        with pytest.raises(UsageError, match="k1"):
            k_reciprocal(query, gallery, **options)
    with pytest.raises(
        ReidError, match="20 images are too few for neighbourhoods of k1=20: want at least 21"
    ):
        k_reciprocal(query[:10], gallery[:10])
    with pytest.raises(ReidError, match="all 30 embeddings are equal"):
        k_reciprocal(np.ones((10, 4)), np.ones((20, 4)))
    with pytest.raises(ReidError, match="8 dimensions and gallery embeddings 7"):
        expand_queries(query, gallery[:, :7])
    with pytest.raises(UsageError, match="neighbours=0"):
        expand_queries(query, gallery, neighbours=0)
    with pytest.raises(UsageError, match="short list of 0"):
        rescore_short_list(distances_between(query, gallery), lambda row, columns: columns, length=0)
