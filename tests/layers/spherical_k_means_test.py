import numpy as np
import pytest
from keras import ops
from sklearn.cluster import KMeans

from genie_tf.layers.spherical_k_means import spherical_k_means


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def clustered_points(num_clusters, spread, width=5, points=400, seed=0):
    """Return directions, and unit vectors around them in clusters of unequal sizes."""
    rng = np.random.default_rng(seed)
    directions = unit(rng.normal(size=(num_clusters, width)))
    shares = rng.dirichlet(np.full(num_clusters, 3.0))
    chosen = directions[rng.choice(num_clusters, size=points, p=shares)]
    points = unit(chosen + rng.normal(0, spread, (points, width)))
    return directions, points.astype("float32")


def test_clusters_are_found():
    directions, points = clustered_points(8, 0.02)
    centers = ops.convert_to_numpy(spherical_k_means(points, 8))
    cosines = centers @ directions.T
    assert (cosines > 0.99).sum(axis=0).tolist() == [1] * 8


@pytest.mark.parametrize("seed", range(3))
def test_centers_are_as_good_as_those_of_scikit_learn(seed):
    """Points are spread out, so the best clusters are not known."""
    _, points = clustered_points(8, 0.5, seed=seed)
    centers = ops.convert_to_numpy(spherical_k_means(points, 8))
    np.testing.assert_allclose(np.linalg.norm(centers, axis=-1), 1, atol=1e-5)
    theirs = KMeans(8, n_init=20, random_state=0).fit(points).cluster_centers_

    def mean_cosine(centers):
        return (points @ unit(centers).T).max(axis=1).mean()

    assert mean_cosine(centers) > mean_cosine(theirs) - 0.005


def test_centers_have_unit_length_with_more_clusters_than_points():
    _, points = clustered_points(2, 0.1, points=3)
    centers = ops.convert_to_numpy(spherical_k_means(points, 6))
    np.testing.assert_allclose(np.linalg.norm(centers, axis=-1), 1, atol=1e-5)
