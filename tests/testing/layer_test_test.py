"""The layer test must pass what is right, and fail for each thing that is wrong."""

import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.testing.layer_test import run_layer_test


class Scale(keras.layers.Layer):
    """A layer without a fault: outputs * kernel + bias, zero at first."""

    def __init__(self, factor=2.0, power=1, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self.power = power

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.kernel = self.add_weight(shape=shape, initializer="zeros", name="kernel")
        self.bias = self.add_weight(shape=shape, initializer="zeros", name="bias")

    def call(self, x):
        kernel, bias = ops.cast(self.kernel, x.dtype), ops.cast(self.bias, x.dtype)
        return self.factor * x**self.power * kernel + bias

    def get_config(self):
        return {**super().get_config(), "factor": self.factor, "power": self.power}


def fails(layer_class, message, init_kwargs=None, inputs=(2, 3), **options):
    with pytest.raises(AssertionError, match=message):
        run_layer_test(layer_class, init_kwargs or {}, inputs, **options)


class TestWhatIsRightPasses:
    def test_a_layer(self):
        run_layer_test(Scale, {"factor": 3.0}, (2, 3))
        run_layer_test(Scale, {"factor": 3.0}, np.ones((2, 5, 3), "float32"))

    def test_arguments_of_a_parent_class(self):
        class ScaleByTwo(Scale):
            def __init__(self, offset=1.0, **kwargs):
                super().__init__(**kwargs)
                self.offset = offset

            def call(self, x):
                return super().call(x) + self.offset

            def get_config(self):
                return {**super().get_config(), "offset": self.offset}

        run_layer_test(ScaleByTwo, {"offset": 2.0, "power": 2}, (2, 3))

    def test_arguments_a_class_keeps_from_its_parent(self):
        class Square(Scale):
            def __init__(self, factor=2.0, name=None, dtype=None, trainable=True):
                super().__init__(factor, 2, name=name, dtype=dtype, trainable=trainable)

            def get_config(self):
                config = super().get_config()
                del config["power"]
                return config

        run_layer_test(Square, {"factor": 3.0}, (2, 3))

    def test_arguments_of_a_keras_class(self):
        class Dense(keras.layers.Dense):
            pass

        run_layer_test(Dense, {"units": 4, "use_bias": False}, (2, 3))

    def test_positional_inputs_and_outputs_in_a_tuple(self):
        class Mix(Scale):
            def build(self, first_shape, second_shape):
                super().build(first_shape)

            def call(self, first, second, mask):
                mixed = ops.where(mask, super().call(first), second)
                return mixed, ops.cast(mask, "int32"), second

        run_layer_test(Mix, {}, [(2, 3), (2, 3), np.eye(2, 3, dtype=bool)])

    def test_named_inputs_and_outputs_in_a_dict(self):
        class Named(Scale):
            def build(self, x_shape, y_shape):
                super().build(x_shape)

            def call(self, x, y, flip=False):
                return {
                    "sum": super().call(x) + y,
                    "product": -x * y if flip else x * y,
                }

        run_layer_test(Named, {}, {"x": (2, 3), "y": (2, 3)}, {"flip": True})

    def test_an_embedding(self):
        class Embedding(keras.layers.Embedding):
            pass

        options = {"input_dim": 8, "output_dim": 4}
        run_layer_test(Embedding, options, np.arange(6).reshape(2, 3))

    def test_state_that_is_not_trained(self):
        class Normalization(keras.layers.BatchNormalization):
            pass

        run_layer_test(Normalization, {}, (4, 3), {"training": False})

    def test_a_model(self):
        class Model(keras.Model):
            def __init__(self, width, **kwargs):
                super().__init__(**kwargs)
                self.width = width
                self.hidden = keras.layers.Dense(
                    width, activation="gelu", dtype=self.dtype_policy
                )
                self.scale = Scale(dtype=self.dtype_policy)

            def call(self, x):
                return self.scale(self.hidden(x))

            def get_config(self):
                return {**super().get_config(), "width": self.width}

        run_layer_test(Model, {"width": 5}, (2, 3))

    def test_outputs_in_float32_by_contract(self):
        class Float32(Scale):
            def call(self, x):
                return ops.cast(super().call(x), "float32")

        run_layer_test(Float32, {}, (2, 3), mixed_output_dtype="float32")
        run_layer_test(Float32, {}, (2, 3), mixed_output_dtype=None)
        fails(Float32, "under mixed_bfloat16: outputs must be bfloat16; .* float32")

    def test_a_weight_these_inputs_do_not_reach(self):
        class Idle(Scale):
            def build(self, input_shape):
                super().build(input_shape)
                self.idle = self.add_weight(shape=(3,), name="idle")

        fails(Idle, "the gradient of .*/idle does not exist|is zero")
        run_layer_test(Idle, {}, (2, 3), without_gradient=("idle",))


class TestConfiguration:
    def test_an_argument_that_is_not_stored(self):
        class Forgetful(Scale):
            def get_config(self):
                config = super().get_config()
                del config["power"]
                return config

        fails(Forgetful, r"Forgetful.get_config: .* \['power'\] are not stored")

    def test_an_argument_stored_under_another_name(self):
        class Renamed(Scale):
            def get_config(self):
                config = super().get_config()
                config["exponent"] = config.pop("power")
                return config

        fails(Renamed, r"\['power'\] are not stored, \['exponent'\] are not accepted")

    def test_a_key_that_only_a_parent_accepts(self):
        class Square(Scale):
            def __init__(self, factor=2.0, name=None, dtype=None, trainable=True):
                super().__init__(factor, 2, name=name, dtype=dtype, trainable=trainable)

        fails(Square, r"\['power'\] are not accepted")

    def test_a_value_that_is_no_json(self):
        class Arrays(Scale):
            def get_config(self):
                return {**super().get_config(), "factor": np.float32(self.factor)}

        fails(Arrays, "the config is not JSON: .* float32")

    def test_a_value_that_changes(self):
        class Growing(Scale):
            def get_config(self):
                return {**super().get_config(), "factor": 2 * self.factor}

        fails(Growing, 'another config; .*"factor": 4.0.* became .*"factor": 8.0')


class TestCalls:
    @pytest.mark.parametrize(
        ("shape", "dtype", "message"),
        [
            (
                (2, 3),
                "float16",
                r"promises float16\(2, 3\), .* returns float32\(2, 3\)",
            ),
            (
                (2, 4),
                "float32",
                r"promises float32\(2, 4\), .* returns float32\(2, 3\)",
            ),
        ],
    )
    def test_a_broken_promise(self, shape, dtype, message):
        class Liar(Scale):
            def compute_output_spec(self, x):
                return keras.KerasTensor(shape, dtype)

        fails(Liar, message)

    def test_another_structure(self):
        class Liar(Scale):
            def compute_output_spec(self, x):
                return {"scaled": keras.KerasTensor(x.shape, x.dtype)}

        fails(Liar, r"promises \{'scaled': 'float32\(2, 3\)'\}, .* returns float32")

    @pytest.mark.skipif(
        keras.backend.backend() == "jax", reason="JAX traces with every size known"
    )
    def test_a_batch_size_that_is_frozen(self):
        class Frozen(Scale):
            def call(self, x):
                return ops.reshape(super().call(x), (x.shape[0] or 1, -1))

        fails(Frozen, r"with an unknown batch size: .* promises float32\(1, ")


class TestTraining:
    def test_a_weight_no_output_needs(self):
        class Dead(Scale):
            def build(self, input_shape):
                super().build(input_shape)
                self.dead = self.add_weight(shape=(3,), name="dead")

        fails(Dead, "gradient of .*/dead (does not exist: no output needs it|is zero)")

    def test_outputs_of_integers_alone(self):
        class Rounded(Scale):
            def call(self, x):
                return ops.cast(super().call(x), "int32")

        fails(Rounded, "gradient of .*/kernel (does not exist|is zero everywhere)")

    def test_a_gradient_that_is_stopped(self):
        class Stopped(Scale):
            def call(self, x):
                return ops.stop_gradient(super().call(x)) + ops.cast(self.bias, x.dtype)

        fails(Stopped, "gradient of .*/kernel (does not exist|is zero everywhere)")

    def test_a_gradient_that_is_zero(self):
        class Saturated(Scale):
            def call(self, x):
                return ops.relu(super().call(x) - 1e6) + ops.cast(self.bias, x.dtype)

        fails(Saturated, "gradient of .*/kernel is zero everywhere")

    def test_a_gradient_that_is_not_finite(self):
        class Root(Scale):
            def call(self, x):
                return ops.sqrt(0 * super().call(x))

        fails(Root, "gradient of .* is not finite")

    def test_a_normalized_output_hides_no_gradient(self):
        class Unit(Scale):
            def call(self, x):
                return ops.normalize(super().call(x), axis=-1)

        run_layer_test(Unit, {}, (2, 3))


class TestSaving:
    def test_a_weight_that_is_not_saved(self):
        class Private(Scale):
            def save_own_variables(self, store):
                store["0"] = self.kernel.numpy()

            def load_own_variables(self, store):
                self.kernel.assign(store["0"])

        fails(Private, "Private: saved as weights and loaded, .*/bias differs")

    def test_weights_that_change_places(self):
        class Swapped(Scale):
            def load_own_variables(self, store):
                self.kernel.assign(store["1"])
                self.bias.assign(store["0"])

        fails(Swapped, "Swapped: saved as weights and loaded, .*/kernel differs")

    def test_a_state_that_outputs_depend_on(self):
        class Counting(Scale):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.hidden = np.random.default_rng().random()

            def call(self, x):
                return super().call(x) + self.hidden

        fails(Counting, "saved as weights and loaded: an output is off by")


class TestPrecision:
    def test_outputs_that_ignore_the_policy(self):
        class Stubborn(Scale):
            def call(self, x):
                return super().call(ops.cast(x, "float32"))

        fails(
            Stubborn, "under mixed_bfloat16: outputs must be bfloat16; one is float32"
        )

    def test_a_promise_of_float32_alone(self):
        class Liar(Scale):
            def compute_output_spec(self, x):
                return keras.KerasTensor(x.shape, "float32")

        fails(Liar, r"promises float32\(2, 3\), a call on arrays returns bfloat16")

    def test_variables_in_bfloat16(self):
        class Small(Scale):
            def build(self, input_shape):
                super().build(input_shape)
                self.scale = self.add_weight(
                    shape=(3,), dtype=self.compute_dtype, name="scale"
                )

            def call(self, x):
                return super().call(x) * self.scale

        fails(Small, "under mixed_bfloat16: .*/scale must stay float32; is bfloat16")

    def test_outputs_far_from_those_in_float32(self):
        class Canceling(Scale):
            def call(self, x):
                return (super().call(x) + 1000) - 1000

        fails(Canceling, "under mixed_bfloat16: an output is off by .* at most 0.1")
        run_layer_test(Canceling, {}, (2, 3), mixed_tolerance=10)
