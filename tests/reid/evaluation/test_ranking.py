"""Ranking against torchreid's own evaluation and against loops written from the definitions."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.errors import ReidError, UsageError
from reid.evaluation import camera_breakdown, distances_between, rank_distances, rank_gallery
from reid.evaluation.blocks import block_memory

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torchreid.reid.metrics.rank import eval_market1501


def case(seed, queries=30, images=200, people=12, cameras=4, dim=6, integers=True):
    """Random people with junk, distractors (identity 0) and person 1 seen by camera 0 alone; whole numbers
    make many exact ties.
    """
    rng = np.random.default_rng(seed)
    draw = (
        (lambda n: rng.integers(-1, 2, (n, dim)).astype(np.float32))
        if integers
        else (lambda n: rng.standard_normal((n, dim)))
    )
    query_ids, gallery_ids = rng.integers(1, people, queries), rng.integers(-1, people, images)
    query_cams, gallery_cams = rng.integers(0, cameras, queries), rng.integers(0, cameras, images)
    query_cams[query_ids == 1], gallery_cams[gallery_ids == 1] = 0, 0
    query_ids[0] = 1
    return draw(queries), query_ids, query_cams, draw(images), gallery_ids, gallery_cams


def squared_distances(query, gallery):
    return ((query[:, None].astype(np.float64) - gallery[None].astype(np.float64)) ** 2).sum(-1)


def loops(query, query_ids, query_cams, gallery, gallery_ids, gallery_cams, ap):
    """CMC, mAP and mINP from the definitions, one query and one rank at a time; the trapezoid as the
    Market-1501 code walks it.
    """
    distances, first, precisions, inps = squared_distances(query, gallery), [], [], []
    for row in range(len(query)):
        ranked = [
            gallery_ids[j] == query_ids[row]
            for j in sorted(range(len(gallery)), key=lambda j: (distances[row, j], j))
            if gallery_ids[j] != -1
            and not (gallery_ids[j] == query_ids[row] and gallery_cams[j] == query_cams[row])
        ]
        if not any(ranked):
            continue
        found, total, before, area, last = 0, sum(ranked), 1.0, 0.0, 0
        for rank, hit in enumerate(ranked, start=1):
            found += bool(hit)
            precision = found / rank
            if hit:
                area += (precision if ap == "rectangle" else (before + precision) / 2) / total
                last = rank
            before = precision
        first.append(ranked.index(True) + 1)
        precisions.append(area)
        inps.append(total / last)
    return first, np.mean(precisions), np.mean(inps), len(query) - len(first)


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_torchreid_on_ties_junk_distractors_and_single_camera_people(seed, monkeypatch):
    args = case(seed)
    query, query_ids, query_cams, gallery, gallery_ids, gallery_cams = args
    kept = gallery_ids != -1
    # torchreid leaves the order of equal distances to chance; a stable sort is the rule stated here.
    original = np.argsort
    monkeypatch.setattr(np, "argsort", lambda values, axis=-1: original(values, axis=axis, kind="stable"))
    cmc, mean_ap = eval_market1501(
        squared_distances(query, gallery[kept]),
        query_ids,
        gallery_ids[kept],
        query_cams,
        gallery_cams[kept],
        max_rank=50,
    )
    monkeypatch.undo()
    report = rank_gallery(*args)
    np.testing.assert_allclose(report.cmc, cmc, atol=1e-6)
    assert report.mean_ap == pytest.approx(mean_ap, abs=1e-6)
    assert report.junk_images == int((~kept).sum()) > 0
    assert report.skipped_queries >= 1


@pytest.mark.parametrize("ap", ["rectangle", "trapezoid"])
@pytest.mark.parametrize("integers", [True, False])
@pytest.mark.parametrize("images", [200, 1500])  # with so many some people have hundreds of matches
def test_agrees_with_loops(ap, integers, images):
    for seed in range(5 if images == 200 else 1):
        args = case(seed, images=images, people=12 if images == 200 else 3, integers=integers)
        with block_memory(7 * 4 * images):
            report = rank_gallery(*args, ap=ap)
        first, mean_ap, mean_inp, skipped = loops(*args, ap)
        assert report.first_rank.tolist() == first
        assert report.mean_ap == pytest.approx(mean_ap, abs=1e-9)
        assert report.mean_inp == pytest.approx(mean_inp, abs=1e-9)
        assert report.skipped_queries == skipped
        assert report.valid_queries + report.skipped_queries == len(args[0])
        assert report.rank(5) == report.cmc[4] == np.mean(np.asarray(first) <= 5)
        assert report.ap == ap


def test_average_precision_agrees_with_scikit_learn():
    from sklearn.metrics import average_precision_score

    query, query_ids, query_cams, gallery, gallery_ids, gallery_cams = case(3, integers=False)
    report = rank_gallery(query, query_ids, query_cams, gallery, gallery_ids, gallery_cams)
    distances = squared_distances(query, gallery)
    for row, ours in zip(report.query_index, report.per_query_ap, strict=True):
        same = gallery_ids == query_ids[row]
        kept = (gallery_ids != -1) & ~(same & (gallery_cams == query_cams[row]))
        assert ours == pytest.approx(average_precision_score(same[kept], -distances[row, kept]), abs=1e-9)


def test_equal_float_embeddings_tie_wherever_they_stand():
    # 19 columns: the matrix product treats the last ones apart and may round them differently.
    rng = np.random.default_rng(0)
    base = rng.standard_normal((3, 33)).astype(np.float32)
    which = np.arange(19) % 3
    for seed in range(50):
        query = np.random.default_rng(seed).standard_normal((11, 33)).astype(np.float32)
        ids = np.full(19, 9)
        ids[18] = 1  # a copy of rows 0, 3, ...: all six come before it whatever its distance
        report = rank_gallery(query, [1] * 11, [0] * 11, base[which], ids, [1] * 19)
        nearer = squared_distances(query, base)
        expected = 7 + 6 * (nearer[:, 1] < nearer[:, 0]) + 6 * (nearer[:, 2] < nearer[:, 0])
        assert report.first_rank.tolist() == expected.tolist()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_given_distances_rank_as_embeddings_do(metric):
    query, query_ids, query_cams, gallery, gallery_ids, gallery_cams = case(4, integers=False)
    labels = (query_ids, query_cams, gallery_ids, gallery_cams)
    with block_memory(7 * 4 * 200):
        given = rank_distances(distances_between(query, gallery, metric), *labels, name="given")
        plain = rank_gallery(query, query_ids, query_cams, gallery, gallery_ids, gallery_cams, metric)
    assert given.first_rank.tolist() == plain.first_rank.tolist()
    assert given.mean_ap == plain.mean_ap
    assert (given.metric, given.junk_images) == ("given", plain.junk_images)
    whole = distances_between(query, gallery, metric)(np.arange(30))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (query, gallery)]
    expected = (
        np.sqrt(squared_distances(query, gallery)) if metric == "euclidean" else 1 - unit[0] @ unit[1].T
    )
    np.testing.assert_allclose(whole, expected, atol=1e-5)


def test_rounding_never_makes_a_distance_to_itself_nan():
    rows = np.random.default_rng(0).standard_normal((300, 64)) + 3
    own = np.diag(distances_between(rows, rows)(np.arange(300)))
    assert ((own >= 0) & (own < 0.05)).all()


def test_bad_given_distances_are_named():
    _, query_ids, query_cams, _, gallery_ids, gallery_cams = case(4)
    labels = (query_ids[:9], query_cams[:9], gallery_ids, gallery_cams)
    valid = rank_distances(
        lambda rows: np.zeros((len(rows), 200), np.float32), *labels, name="flat"
    ).valid_queries
    with pytest.raises(ReidError, match=f"odd distances hold {valid * 200} NaN"):
        rank_distances(lambda rows: np.full((len(rows), 200), np.nan, np.float32), *labels, name="odd")
    with pytest.raises(
        ReidError,
        match=rf"odd distances have shape \({valid}, 3\) for {valid} queries and 200 gallery images",
    ):
        rank_distances(lambda rows: np.zeros((len(rows), 3), np.float32), *labels, name="odd")


def test_cosine_ignores_length_and_euclidean_does_not():
    query, gallery = np.asarray([[1.0, 0.0]]), np.asarray([[100.0, 1.0], [0.5, 0.5]])
    assert rank_gallery(query, ["a"], ["x"], gallery, ["a", "b"], ["y", "y"], "cosine").rank(1) == 1
    assert rank_gallery(query, ["a"], ["x"], gallery, ["a", "b"], ["y", "y"], "euclidean").rank(1) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_strings_integers_and_the_order_of_queries_do_not_matter(seed):
    query, query_ids, query_cams, gallery, gallery_ids, gallery_cams = case(seed, images=60)
    plain = rank_gallery(query, query_ids, query_cams, gallery, gallery_ids, gallery_cams)
    turn = np.random.default_rng(seed).permutation(len(query))
    other = rank_gallery(
        query[turn],
        query_ids[turn].astype(str),
        query_cams[turn].astype(str),
        gallery,
        gallery_ids.astype(str),
        gallery_cams.astype(str),
    )
    assert other.mean_ap == pytest.approx(plain.mean_ap, abs=1e-12)
    np.testing.assert_allclose(other.cmc, plain.cmc)
    assert np.all(np.diff(plain.cmc) >= 0)


def test_junk_queries_are_skipped():
    query, query_ids, query_cams, gallery, gallery_ids, gallery_cams = case(1)
    plain = rank_gallery(query, query_ids, query_cams, gallery, gallery_ids, gallery_cams)
    more = rank_gallery(
        np.vstack([query, query[:3]]),
        np.append(query_ids, [-1] * 3),
        np.append(query_cams, [0] * 3),
        gallery,
        gallery_ids,
        gallery_cams,
    )
    assert more.skipped_queries == plain.skipped_queries + 3
    assert more.mean_ap == plain.mean_ap


def test_breakdown_ranks_each_camera_pair_alone():
    query, query_ids, query_cams, gallery, gallery_ids, gallery_cams = case(2)
    pairs = camera_breakdown(query, query_ids, query_cams, gallery, gallery_ids, gallery_cams)
    assert len(pairs) == 12
    assert all(ours != theirs for ours, theirs in pairs)
    rows, columns = query_cams == 2, gallery_cams == 3
    alone = rank_gallery(
        query[rows],
        query_ids[rows],
        query_cams[rows],
        gallery[columns],
        gallery_ids[columns],
        gallery_cams[columns],
    )
    assert pairs["2", "3"].mean_ap == alone.mean_ap
    assert pairs["2", "3"].valid_queries == alone.valid_queries


def broken(change):
    args = dict(
        zip(
            ("query", "query_ids", "query_cams", "gallery", "gallery_ids", "gallery_cams"),
            case(0, integers=False),
            strict=True,
        )
    )
    change(args)
    return args


def set_row(name, row, value):
    def change(args):
        args[name][row, 0] = value

    return change


BAD = {
    "nan": (
        set_row("query", [4, 7], np.nan),
        r"query embeddings hold NaN or infinity in 2 of 30 rows \(first: 4\)",
    ),
    "infinity": (
        set_row("gallery", [9], np.inf),
        r"gallery embeddings hold NaN or infinity in 1 of 200 rows \(first: 9\)",
    ),
    "overflow": (set_row("gallery", [9], 1e30), "values too large for float32"),
    "width": (
        lambda a: a.update(gallery=a["gallery"][:, :5]),
        "query embeddings have 6 dimensions and gallery embeddings 5",
    ),
    "vector": (lambda a: a.update(query=a["query"][0]), r"shape \(6,\)"),
    "no query": (lambda a: a.update(query=a["query"][:0]), "query embeddings are empty"),
    "no gallery": (lambda a: a.update(gallery=a["gallery"][:0]), "gallery embeddings are empty"),
    "ids": (
        lambda a: a.update(gallery_ids=a["gallery_ids"][:-1]),
        r"gallery ids have shape \(199,\) but there are 200 embeddings",
    ),
    "kinds": (
        lambda a: a.update(query_ids=a["query_ids"].astype(str)),
        "strings on one side and integers on the other",
    ),
    "floats": (lambda a: a.update(query_cams=a["query_cams"] * 1.0), "query cameras have type float64"),
    "one camera": (
        lambda a: a.update(query_cams=[3] * 30, gallery_cams=[3] * 200),
        "every image is from camera 3",
    ),
    "strangers": (
        lambda a: a.update(query_ids=a["query_ids"] + 100),
        "none of the 11 query identities is among the 12 gallery identities",
    ),
    "apart": (
        lambda a: a.update(
            query_ids=[1] * 30,
            query_cams=[0] * 30,
            gallery_cams=np.where(a["gallery_ids"] == 1, 0, a["gallery_cams"]),
        ),
        "all 1 shared identities were seen by one camera only",
    ),
    "junk": (lambda a: a.update(gallery_ids=[-1] * 200), "gallery holds only junk"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    change, message = BAD[name]
    with pytest.raises(ReidError, match=message):
        rank_gallery(**broken(change))


def test_a_zero_embedding_has_no_cosine():
    args = broken(lambda a: a["gallery"].__setitem__(5, 0))
    with pytest.raises(ReidError, match=r"all zero in 1 of 200 rows \(first: 5\)"):
        rank_gallery(**args, metric="cosine")


@pytest.mark.parametrize("options", [{"metric": "manhattan"}, {"ap": "circle"}, {"max_rank": 0}])
def test_unknown_options_are_refused(options):
    with pytest.raises(UsageError):
        rank_gallery(*case(0), **options)
