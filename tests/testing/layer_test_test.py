"""The layer test passes correct layers and fails for each kind of error."""

import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.testing.layer_test import run_layer_test


class Scale(keras.layers.Layer):
    """Correct layer: inputs * kernel + bias, initialized to zero."""

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


def check_failure(layer_class, message, init_kwargs=None, inputs=(2, 3), **options):
    with pytest.raises(AssertionError, match=message):
        run_layer_test(layer_class, init_kwargs or {}, inputs, **options)


class TestCorrectLayers:
    def test_layer(self):
        run_layer_test(Scale, {"factor": 3.0}, (2, 3))
        run_layer_test(Scale, {"factor": 3.0}, np.ones((2, 5, 3), "float32"))

    def test_arguments_of_parent_class(self):
        class ScaleByTwo(Scale):
            def __init__(self, offset=1.0, **kwargs):
                super().__init__(**kwargs)
                self.offset = offset

            def call(self, x):
                return super().call(x) + self.offset

            def get_config(self):
                return {**super().get_config(), "offset": self.offset}

        run_layer_test(ScaleByTwo, {"offset": 2.0, "power": 2}, (2, 3))

    def test_argument_that_parent_accepts_and_class_does_not(self):
        class Square(Scale):
            def __init__(self, factor=2.0, name=None, dtype=None, trainable=True):
                super().__init__(factor, 2, name=name, dtype=dtype, trainable=trainable)

            def get_config(self):
                config = super().get_config()
                del config["power"]
                return config

        run_layer_test(Square, {"factor": 3.0}, (2, 3))

    def test_arguments_of_keras_class(self):
        class Dense(keras.layers.Dense):
            pass

        run_layer_test(Dense, {"units": 4, "use_bias": False}, (2, 3))

    def test_positional_inputs_and_tuple_of_outputs(self):
        class Mix(Scale):
            def build(self, first_shape, second_shape):
                super().build(first_shape)

            def call(self, first, second, mask):
                mixed = ops.where(mask, super().call(first), second)
                return mixed, ops.cast(mask, "int32"), second

        run_layer_test(Mix, {}, [(2, 3), (2, 3), np.eye(2, 3, dtype=bool)])

    def test_named_inputs_and_dict_of_outputs(self):
        class Named(Scale):
            def build(self, x_shape, y_shape):
                super().build(x_shape)

            def call(self, x, y, flip=False):
                return {
                    "sum": super().call(x) + y,
                    "product": -x * y if flip else x * y,
                }

        run_layer_test(Named, {}, {"x": (2, 3), "y": (2, 3)}, {"flip": True})

    def test_embedding(self):
        class Embedding(keras.layers.Embedding):
            pass

        options = {"input_dim": 8, "output_dim": 4}
        run_layer_test(Embedding, options, np.arange(6).reshape(2, 3))

    def test_non_trainable_state(self):
        class Normalization(keras.layers.BatchNormalization):
            pass

        run_layer_test(Normalization, {}, (4, 3), {"training": False})

    def test_model(self):
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

    def test_outputs_promised_in_float32(self):
        class Float32(Scale):
            def call(self, x):
                return ops.cast(super().call(x), "float32")

        run_layer_test(Float32, {}, (2, 3), mixed_output_dtype="float32")
        run_layer_test(Float32, {}, (2, 3), mixed_output_dtype=None)
        check_failure(
            Float32, "under mixed_bfloat16: outputs must be bfloat16; .* float32"
        )

    def test_weight_that_inputs_do_not_reach(self):
        class Idle(Scale):
            def build(self, input_shape):
                super().build(input_shape)
                self.idle = self.add_weight(shape=(3,), name="idle")

        check_failure(Idle, "the gradient of .*/idle does not exist|is zero")
        run_layer_test(Idle, {}, (2, 3), without_gradient=("idle",))


class TestConfiguration:
    def test_argument_that_is_not_stored(self):
        class Forgetful(Scale):
            def get_config(self):
                config = super().get_config()
                del config["power"]
                return config

        check_failure(Forgetful, r"Forgetful.get_config: .* \['power'\] are not stored")

    def test_argument_stored_under_wrong_name(self):
        class Renamed(Scale):
            def get_config(self):
                config = super().get_config()
                config["exponent"] = config.pop("power")
                return config

        check_failure(
            Renamed, r"\['power'\] are not stored, \['exponent'\] are not accepted"
        )

    def test_key_that_only_parent_accepts(self):
        class Square(Scale):
            def __init__(self, factor=2.0, name=None, dtype=None, trainable=True):
                super().__init__(factor, 2, name=name, dtype=dtype, trainable=trainable)

        check_failure(Square, r"\['power'\] are not accepted")

    def test_value_that_is_not_json(self):
        class Arrays(Scale):
            def get_config(self):
                return {**super().get_config(), "factor": np.float32(self.factor)}

        check_failure(Arrays, "the config is not JSON: .* float32")

    def test_value_that_changes(self):
        class Growing(Scale):
            def get_config(self):
                return {**super().get_config(), "factor": 2 * self.factor}

        check_failure(
            Growing, 'restore the config; .*"factor": 4.0.* became .*"factor": 8.0'
        )


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
    def test_wrong_shape_or_dtype(self, shape, dtype, message):
        class Liar(Scale):
            def compute_output_spec(self, x):
                return keras.KerasTensor(shape, dtype)

        check_failure(Liar, message)

    def test_wrong_structure(self):
        class Liar(Scale):
            def compute_output_spec(self, x):
                return {"scaled": keras.KerasTensor(x.shape, x.dtype)}

        check_failure(
            Liar, r"promises \{'scaled': 'float32\(2, 3\)'\}, .* returns float32"
        )

    @pytest.mark.skipif(
        keras.backend.backend() == "jax", reason="JAX traces with every size known"
    )
    def test_fixed_batch_size(self):
        class Frozen(Scale):
            def call(self, x):
                return ops.reshape(super().call(x), (x.shape[0] or 1, -1))

        check_failure(Frozen, r"with an unknown batch size: .* promises float32\(1, ")


class TestTraining:
    def test_weight_that_no_output_needs(self):
        class Dead(Scale):
            def build(self, input_shape):
                super().build(input_shape)
                self.dead = self.add_weight(shape=(3,), name="dead")

        check_failure(
            Dead, "gradient of .*/dead (does not exist: no output needs it|is zero)"
        )

    def test_integer_outputs(self):
        class Rounded(Scale):
            def call(self, x):
                return ops.cast(super().call(x), "int32")

        check_failure(
            Rounded, "gradient of .*/kernel (does not exist|is zero everywhere)"
        )

    def test_stopped_gradient(self):
        class Stopped(Scale):
            def call(self, x):
                return ops.stop_gradient(super().call(x)) + ops.cast(self.bias, x.dtype)

        check_failure(
            Stopped, "gradient of .*/kernel (does not exist|is zero everywhere)"
        )

    def test_zero_gradient(self):
        class Saturated(Scale):
            def call(self, x):
                return ops.relu(super().call(x) - 1e6) + ops.cast(self.bias, x.dtype)

        check_failure(Saturated, "gradient of .*/kernel is zero everywhere")

    def test_gradient_that_is_not_finite(self):
        class Root(Scale):
            def call(self, x):
                return ops.sqrt(0 * super().call(x))

        check_failure(Root, "gradient of .* is not finite")

    def test_normalized_outputs_have_gradient(self):
        class Unit(Scale):
            def call(self, x):
                return ops.normalize(super().call(x), axis=-1)

        run_layer_test(Unit, {}, (2, 3))


class TestSaving:
    def test_weight_that_is_not_saved(self):
        class Private(Scale):
            def save_own_variables(self, store):
                store["0"] = self.kernel.numpy()

            def load_own_variables(self, store):
                self.kernel.assign(store["0"])

        check_failure(Private, "Private: saved as weights and loaded, .*/bias differs")

    def test_swapped_weights(self):
        class Swapped(Scale):
            def load_own_variables(self, store):
                self.kernel.assign(store["1"])
                self.bias.assign(store["0"])

        check_failure(
            Swapped, "Swapped: saved as weights and loaded, .*/kernel differs"
        )

    def test_unsaved_state(self):
        class Counting(Scale):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.hidden = np.random.default_rng().random()

            def call(self, x):
                return super().call(x) + self.hidden

        check_failure(Counting, "saved as weights and loaded: an output is off by")


class TestPrecision:
    def test_outputs_that_ignore_the_policy(self):
        class Stubborn(Scale):
            def call(self, x):
                return super().call(ops.cast(x, "float32"))

        check_failure(
            Stubborn, "under mixed_bfloat16: outputs must be bfloat16; one is float32"
        )

    def test_float32_that_is_only_promised(self):
        class Liar(Scale):
            def compute_output_spec(self, x):
                return keras.KerasTensor(x.shape, "float32")

        check_failure(
            Liar, r"promises float32\(2, 3\), a call on arrays returns bfloat16"
        )

    def test_variables_in_bfloat16(self):
        class Small(Scale):
            def build(self, input_shape):
                super().build(input_shape)
                self.scale = self.add_weight(
                    shape=(3,), dtype=self.compute_dtype, name="scale"
                )

            def call(self, x):
                return super().call(x) * self.scale

        check_failure(
            Small, "under mixed_bfloat16: .*/scale must stay float32; is bfloat16"
        )

    def test_outputs_far_from_those_in_float32(self):
        class Canceling(Scale):
            def call(self, x):
                return (super().call(x) + 1000) - 1000

        check_failure(
            Canceling, "under mixed_bfloat16: an output is off by .* at most 0.1"
        )
        run_layer_test(Canceling, {}, (2, 3), mixed_tolerance=10)
