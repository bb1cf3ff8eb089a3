"""Estimates FLOPs and memory of a training run, without allocating its weights."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import keras

from genie_tf.layers import (
    NormDenseNorm,
    OwnFirstFrame,
    STTransformer,
    VectorQuantizer,
)
from genie_tf.models import Tokenizer
from genie_tf.models.layer_calls import LayerCall
from genie_tf.models.trainable_model import TrainableModel
from genie_tf.presets.without_weights import without_weights
from genie_tf.training.sharding import divided_dimension

_FLOAT32 = 4  # Bytes.


def count_parameters(make_model: Callable[[], TrainableModel]) -> dict[str, int]:
    """Return the number of parameters of each part of a model, without allocating any.

    Args:
        make_model: see `without_weights`.

    Returns:
        A dict from the name of each of the model's `parts` to its number of parameters.
    """
    parts = without_weights(make_model).parts()
    return {name: part.count_params() for name, part in parts.items()}


def find_transformers(model: TrainableModel) -> list[STTransformer]:
    """Return the transformers of all parts of a model."""
    layers = [layer for part in model.parts().values() for layer in part.layers]
    return [layer for layer in layers if isinstance(layer, STTransformer)]


@dataclass(frozen=True)
class Cost:
    """Cost of a training step for one clip.

    Args:
        forward: FLOPs of the forward pass.
        backward: FLOPs of the backward pass.
        kept: bytes of activations that are kept for the backward pass.
        block: additional bytes that the backward pass needs for the current block.
    """

    forward: float = 0
    backward: float = 0
    kept: float = 0
    block: float = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.forward + other.forward,
            self.backward + other.backward,
            self.kept + other.kept,
            max(self.block, other.block),
        )

    @property
    def flops(self) -> float:
        return self.forward + self.backward


def step_costs(model: TrainableModel, frames: int, shards: int = 1) -> dict[str, Cost]:
    """Return the cost of a training step for one clip, for each part of a model.

    FLOPs only count matrix products: norms, softmax and the like add 2% at a width of
    256, and less in a wider model. Not counted is the network from offsets to a bias
    (`space_bias_dim`), which runs once for all clips. Activations are those that XLA keeps: inputs of norms
    and products, and intermediates of softmax and GELU. docs/scaling.md compares both
    with compiled programs.

    Args:
        model: a `TrainableModel`; it does not need weights.
        frames: frames per clip.
        shards: number of devices among which tensor parallelism divides heads and hidden
            widths. Bytes are per device, FLOPs for all devices.

    Returns:
        A dict from the name of each of the model's `parts` to its cost.
    """
    costs = {}
    for name, part in model.parts().items():
        if isinstance(part, Tokenizer) and part is not model:
            # A frozen tokenizer only encodes, and keeps nothing.
            cost = _cost(part.encoder_calls(frames), shards)
            cost = Cost(forward=cost.forward)
        else:
            cost = _cost(part.layer_calls(frames), shards)
        costs[name] = cost
    return costs


def _cost(calls: Iterable[LayerCall], shards: int) -> Cost:
    return sum((_call_cost(call, shards) for call in calls), Cost())


def _call_cost(call: LayerCall, shards: int) -> Cost:
    """Return the cost of a call of a layer; zero for cheap kinds of layers."""
    if not call.trained:
        return Cost(forward=_call_cost(call._replace(trained=True), shards).forward)
    layer, rows = call.layer, call.frames * call.patches
    if isinstance(layer, STTransformer):
        return _transformer(layer, call.frames, call.patches, shards)
    if isinstance(layer, VectorQuantizer):
        return _quantizer(layer, rows)
    if isinstance(layer, keras.layers.Embedding):
        return _classifier(layer, rows) if call.is_classifier else Cost()
    if isinstance(layer, OwnFirstFrame):  # Both layers compute all frames.
        first = call._replace(layer=layer.first, squared_error=False)
        later = call._replace(layer=layer.later)
        return _call_cost(first, shards) + _call_cost(later, shards)
    if isinstance(layer, NormDenseNorm):
        return _norm_dense_norm(layer, rows, gradients=1 + call.input_gradient)
    if not isinstance(layer, keras.layers.Dense):
        return Cost()
    cost = _dense(layer, rows, gradients=1 + call.input_gradient)
    if call.squared_error:  # Prediction and target, in float32.
        cost += Cost(kept=_FLOAT32 * 2 * rows * layer.units)
    if call.is_classifier:
        cost += _logits(rows, layer.units)
    return cost


def _classifier(table: keras.layers.Embedding, rows: int) -> Cost:
    """Return the cost of logits from an embedding table that ends with the mask token."""
    codes, width = table.input_dim - 1, table.output_dim
    codes_kept = Cost(kept=_FLOAT32 * rows * width)
    return _product(rows * codes * width) + codes_kept + _logits(rows, codes)


def _logits(rows: int, codes: int) -> Cost:
    """Return the bytes of logits and exponentials, and of the gradient at the loss."""
    size = _FLOAT32 * rows * codes
    return Cost(kept=2 * size, block=size)


def _transformer(layer: STTransformer, frames: int, n: int, shards: int) -> Cost:
    tokens, size = frames * n, _size(layer)
    dim, hidden, heads = layer.dim, layer.mlp_dim, layer.num_heads
    width = heads * layer.head_dim
    # Per token and block. The feed-forward keeps its input before and after the norm,
    # and its hidden layer before and after GELU, with GELU's tanh.
    kind, number = layer.options.feed_forward, layer.options.order.count("f")
    hidden = dim if kind == "single" else hidden
    matrices = {"gelu": 2, "single": 1, "geglu": 3}[kind]
    multiplications = number * matrices * dim * hidden
    kept = number * size * (2 * dim + (1 + matrices) * hidden / shards)
    widest = size * hidden / shards
    # How many tokens each token attends to; 0 over time in a window of one frame.
    past = frames if layer.window > 1 else 0
    lengths = {"st": (n, past), "space": (n,), "space_time": (n * frames,)}
    for length in lengths[layer.attention]:
        projections = 3 if length else 1  # A window of one frame only has values.
        multiplications += width * ((projections + 1) * dim + 2 * length)
        # Before their norm, queries and keys are one tensor with the values.
        inputs = width * (projections + 1 + 3 * (layer.qk_norm and length > 0))
        # Softmax keeps its exponentials in float32, and its outputs.
        scores = heads * length
        kept += size * 2 * dim + (size * (inputs + scores) + _FLOAT32 * scores) / shards
        widest = max(widest, _FLOAT32 * scores / shards)
    if layer.options.peg:  # A kernel of 3x3x3 ahead of each attention.
        multiplications += 2 * 27 * dim
        kept += 2 * size * dim
    block = _product(tokens * multiplications)
    residual = size * tokens * dim
    # The backward pass has gradients of the residual and of one other tensor at a time.
    recomputed, kept, temporary = 0, tokens * kept, residual + tokens * widest
    if layer.remat:
        # A block keeps only its input. The backward pass computes the rest again, except
        # the last product.
        recomputed = block.forward - _product(tokens * hidden * dim).forward
        kept, temporary = residual, temporary + kept
    cost = Cost(
        layer.num_blocks * block.forward,
        layer.num_blocks * (block.backward + recomputed),
        layer.num_blocks * kept + residual,
        temporary,
    )
    return cost + _norm_dense_norm(layer.entry, tokens) if layer.entry else cost


def _quantizer(layer: VectorQuantizer, rows: int) -> Cost:
    """Return the cost of similarities, which have no gradient.

    Kept are the latents before and after their norm, and the codes.
    """
    numbers = rows * layer.code_dim
    return Cost(2 * numbers * layer.num_codes, kept=_FLOAT32 * 3 * numbers)


def _dense(layer: keras.layers.Dense, rows: int, gradients: int = 2) -> Cost:
    """Return the cost of a dense layer; its gradients are those of weights and input."""
    inputs, outputs = layer.kernel.shape
    product = _product(rows * inputs * outputs, gradients)
    return product + Cost(kept=_size(layer) * rows * inputs)


def _norm_dense_norm(layer: NormDenseNorm, rows: int, gradients: int = 2) -> Cost:
    """Return the cost of a dense layer between two norms, which keep their inputs."""
    numbers = rows * sum(layer.dense.kernel.shape)
    return _dense(layer.dense, rows, gradients) + Cost(kept=_size(layer) * numbers)


def _product(multiplications: float, gradients: int = 2) -> Cost:
    """Return the FLOPs of a product: 2 per multiplication, and as many per gradient."""
    return Cost(2 * multiplications, 2 * multiplications * gradients)


def _size(layer: keras.layers.Layer) -> int:
    return 2 if layer.compute_dtype == "bfloat16" else _FLOAT32


def muon_flops(model: keras.Model) -> float:
    """Return the FLOPs of Muon per step: 5 Newton-Schulz iterations for each kernel.

    An iteration multiplies r x c by c x r, r x r by r x r, and r x r by r x c, where r is
    the smaller side of a kernel (Jordan et al. 2024).
    """
    sides = [sorted(v.shape) for v in model.trainable_variables if v.name == "kernel"]
    return sum(5 * 2 * (2 * r * r * c + r**3) for r, c in sides)


@dataclass(frozen=True)
class Memory:
    """Bytes that a device holds in a training step.

    Args:
        weights: weights of all parts, in float32.
        moments: state of the optimizer, in float32.
        gradients: gradients in float32; plus their sum if a batch has several parts.
        activations: activations kept for the backward pass, and those of the current block.
        gathered: with ZeRO-3, the weights of the current block, and its gradients until
            they are divided.
        peak: the sum, but with only the larger of gradients and activations: the backward
            pass frees activations as it computes gradients.
    """

    weights: float
    moments: float
    gradients: float
    activations: float
    gathered: float
    peak: float


def step_memory(
    model: TrainableModel,
    frames: int,
    batch: int,
    mesh: Mapping[str, int],
    optimizer: str = "adamw",
    ema: float = 0.0,
    accumulate: int = 1,
) -> Memory:
    """Return the bytes that each device holds in a training step.

    Args:
        model: a `TrainableModel`; it does not need weights.
        frames: frames per clip.
        batch: clips of all devices together.
        mesh: number of devices along "data", "fsdp" and "model", see `Sharding`; 1 by
            default. Along "fsdp", weights, moments and gradients are divided, and weights
            gathered block by block (ZeRO-3, Rajbhandari et al. 2020); along "model",
            those of heads and hidden widths (Shoeybi et al. 2019).
        optimizer, ema: see `make_optimizer`.
        accumulate: number of parts in which a batch is processed.
    """
    fsdp, shards = mesh.get("fsdp", 1), mesh.get("model", 1)

    def num_bytes(variables: Iterable) -> float:
        """Return the bytes of variables, divided by tensor parallelism only."""
        return _FLOAT32 * sum(
            math.prod(v.shape) / (1 if divided_dimension(v.path) is None else shards)
            for v in variables
        )

    def slots(variable) -> int:
        """Return the number of optimizer slots; Muon has no second moment of kernels."""
        moments = 1 if optimizer == "muon" and variable.name == "kernel" else 2
        return moments + (ema > 0)

    trainable = model.trainable_variables
    weights = num_bytes(model.variables) / fsdp
    moments = num_bytes(v for v in trainable for _ in range(slots(v))) / fsdp
    gradients = num_bytes(trainable) / fsdp
    summed = gradients if accumulate > 1 else 0

    gathered = 0
    if fsdp > 1:
        gathered = 2 * max(
            num_bytes(layer.blocks[0].variables) * _size(layer) / _FLOAT32
            for layer in find_transformers(model)
        )

    cost = sum(step_costs(model, frames, shards).values(), Cost())
    clips = batch / (mesh.get("data", 1) * fsdp * accumulate)
    kept, block = clips * cost.kept, clips * cost.block
    return Memory(
        weights,
        moments,
        gradients + summed,
        kept + block,
        gathered,
        weights + moments + summed + max(gradients, kept) + block + gathered,
    )
