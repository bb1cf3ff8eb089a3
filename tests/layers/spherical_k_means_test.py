import numpy as np
import pytest
from keras import ops
from sklearn.cluster import KMeans

from genie_tf.layers.spherical_k_means import spherical_k_means


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def gathered_points(num_clusters, spread, width=5, points=400, seed=0):
    """Directions, and unit vectors about them, with clusters of unequal sizes."""
    rng = np.random.default_rng(seed)
    directions = unit(rng.normal(size=(num_clusters, width)))
    shares = rng.dirichlet(np.full(num_clusters, 3.0))
    chosen = directions[rng.choice(num_clusters, size=points, p=shares)]
    points = unit(chosen + rng.normal(0, spread, (points, width)))
    return directions, points.astype("float32")


def test_finds_what_was_planted():
    directions, points = gathered_points(8, 0.02)
    centers = ops.convert_to_numpy(spherical_k_means(points, 8))
    cosines = centers @ directions.T
    assert (cosines > 0.99).sum(axis=0).tolist() == [1] * 8


@pytest.mark.parametrize("seed", range(3))
def test_as_close_as_scikit_learn_gets(seed):
    """On spread points, whose best clusters nobody planted."""
    _, points = gathered_points(8, 0.5, seed=seed)
    centers = ops.convert_to_numpy(spherical_k_means(points, 8))
    np.testing.assert_allclose(np.linalg.norm(centers, axis=-1), 1, atol=1e-5)
    theirs = KMeans(8, n_init=20, random_state=0).fit(points).cluster_centers_

    def mean_cosine(centers):
        return (points @ unit(centers).T).max(axis=1).mean()

    assert mean_cosine(centers) > mean_cosine(theirs) - 0.005


def test_more_clusters_than_points_are_of_unit_length_all_the_same():
    _, points = gathered_points(2, 0.1, points=3)
    centers = ops.convert_to_numpy(spherical_k_means(points, 6))
    np.testing.assert_allclose(np.linalg.norm(centers, axis=-1), 1, atol=1e-5)
