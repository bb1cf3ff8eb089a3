import numpy as np
import pytest
from keras import ops
from sklearn.metrics import log_loss, top_k_accuracy_score

from genie_tf.metrics.token_prediction import masked_token_scores


def test_scores_of_clips_equal_scikit_learn():
    rng = np.random.default_rng(0)
    tokens = rng.integers(20, size=(3, 4, 5))
    logits = rng.normal(size=(3, 4, 5, 20)).astype("float32")
    mask = rng.random((3, 4, 5)) < 0.6
    scores = masked_token_scores(tokens, logits, mask)
    assert set(scores) == {"cross_entropy", "top1", "top2", "top5", "top16"}
    for clip in range(3):
        true, masked = tokens[clip][mask[clip]], logits[clip][mask[clip]]
        shares = ops.convert_to_numpy(ops.softmax(masked)).astype("float64")
        shares /= shares.sum(axis=-1, keepdims=True)
        labels = range(20)
        assert float(scores["cross_entropy"][clip]) == pytest.approx(
            log_loss(true, shares, labels=labels), rel=1e-5
        )
        for k in (1, 2, 5, 16):
            expected = top_k_accuracy_score(true, masked, k=k, labels=labels)
            assert float(scores[f"top{k}"][clip]) == pytest.approx(expected)


def test_equal_logits_score_zero():
    tokens = np.arange(4).reshape(1, 2, 2)
    scores = masked_token_scores(
        tokens, np.zeros((1, 2, 2, 20), "float32"), np.ones((1, 2, 2), bool)
    )
    assert [float(scores[f"top{k}"][0]) for k in (1, 2, 5, 16)] == [0, 0, 0, 0]
