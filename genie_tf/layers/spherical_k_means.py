"""k-means on the unit sphere, to initialize a codebook.

Axes: r restarts, m points, k clusters, l width.
"""

from keras import ops

from genie_tf.noise import fold, gumbel

_RESTARTS = 8
_ITERATIONS = 20


def spherical_k_means(points, num_clusters: int):
    """Return cluster centers of points by cosine similarity (Dhillon and Modha 2001).

    Keeps the best of eight runs, each initialized with k-means++ (Arthur and
    Vassilvitskii 2007). Random draws depend only on the number of points.

    Args:
        points: (m, l), of unit length.
        num_clusters: k.

    Returns:
        (k, l), of unit length: the centers of the run with the largest mean cosine
        between a point and its nearest center.
    """
    m, width = points.shape
    key = ops.cast(ops.arange(_RESTARTS), "uint32")

    def add(i, state):
        centers, distances = state
        draw = ops.log(distances + 1e-9) + gumbel(fold(key, i), m)
        chosen = ops.take(points, ops.argmax(draw, axis=-1), axis=0)
        place = (ops.arange(num_clusters) == i)[None, :, None]
        # 1 minus the cosine is half the squared distance.
        new = 1 - ops.matmul(chosen, ops.transpose(points))
        return (
            ops.where(place, chosen[:, None], centers),
            ops.minimum(distances, ops.maximum(new, 0)),
        )

    def refine(_, centers):
        nearest = ops.argmax(cosines(centers), axis=-1)
        members = ops.one_hot(nearest, num_clusters, dtype=points.dtype)
        sums = ops.einsum("rmk,ml->rkl", members, points)
        empty = ops.sum(members, axis=1)[..., None] == 0
        return ops.where(empty, centers, ops.normalize(sums, axis=-1))

    def cosines(centers):
        return ops.einsum("ml,rkl->rmk", points, centers)

    centers = ops.zeros((_RESTARTS, num_clusters, width), points.dtype)
    distances = ops.ones((_RESTARTS, m), points.dtype)
    centers, _ = ops.fori_loop(0, num_clusters, add, (centers, distances))
    centers = ops.fori_loop(0, _ITERATIONS, refine, centers)
    quality = ops.mean(ops.max(cosines(centers), axis=-1), axis=-1)
    return ops.take(centers, ops.argmax(quality), axis=0)
