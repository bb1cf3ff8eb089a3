import numpy as np
import pytest
from keras import ops
from sklearn.metrics import log_loss, top_k_accuracy_score

from genie_tf.metrics.token_prediction import masked_token_scores


def test_clips_equal_scikit_learn():
    rng = np.random.default_rng(0)
    tokens = rng.integers(20, size=(3, 4, 5))
    logits = rng.normal(size=(3, 4, 5, 20)).astype("float32")
    mask = rng.random((3, 4, 5)) < 0.6
    found = masked_token_scores(tokens, logits, mask)
    assert set(found) == {"cross_entropy", "top1", "top2", "top5", "top16"}
    for clip in range(3):
        true, scores = tokens[clip][mask[clip]], logits[clip][mask[clip]]
        shares = ops.convert_to_numpy(ops.softmax(scores)).astype("float64")
        shares /= shares.sum(axis=-1, keepdims=True)
        labels = range(20)
        assert float(found["cross_entropy"][clip]) == pytest.approx(
            log_loss(true, shares, labels=labels), rel=1e-5
        )
        for k in (1, 2, 5, 16):
            expected = top_k_accuracy_score(true, scores, k=k, labels=labels)
            assert float(found[f"top{k}"][clip]) == pytest.approx(expected)


def test_a_model_that_knows_nothing_hits_nothing():
    tokens = np.arange(4).reshape(1, 2, 2)
    found = masked_token_scores(
        tokens, np.zeros((1, 2, 2, 20), "float32"), np.ones((1, 2, 2), bool)
    )
    assert [float(found[f"top{k}"][0]) for k in (1, 2, 5, 16)] == [0, 0, 0, 0]
