"""Numbers of parameters, against models that have them."""

import resource

import keras
import numpy as np

from genie_tf.models import Dynamics
from genie_tf.testing.tiny_models import tiny_tokenizer
from genie_tf.training.plan import count_parameters, without_weights


def numbers_in(model):
    return sum(np.array(weight).size for weight in model.weights)


def test_a_model_has_as_many_parameters_as_are_counted():
    counts = count_parameters(tiny_tokenizer)
    assert counts == {"video_tokenizer": numbers_in(tiny_tokenizer())}


def test_the_parts_of_a_model_are_counted_apart():
    def make_pair():
        pair = keras.Model()
        pair.first, pair.second = tiny_tokenizer(), tiny_tokenizer(num_codes=48)
        pair.built = True
        return pair

    counts = list(count_parameters(make_pair).values())
    pair = [tiny_tokenizer(), tiny_tokenizer(num_codes=48)]
    assert counts == [numbers_in(model) for model in pair]


def test_nothing_is_allocated_neither_then_nor_later():
    def make_large():
        large = {"dim": 1 << 13, "num_blocks": 1, "num_heads": 8}
        return Dynamics(num_codes=8, num_patches=4, action_dim=8, transformer=large)

    def peak_bytes():
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = peak_bytes()
    model = without_weights(make_large)
    with keras.StatelessScope():
        pass
    assert peak_bytes() - before < 4 * model.count_params() / 10
