"""Sharding of weights and batches over a mesh of devices: `keras.distribution` on JAX."""

import math
import re
from collections.abc import Mapping, Sequence

import keras

# Axes of a mesh, from the outermost.
_AXES = ("data", "fsdp", "model")
# Layers of the ST-transformer whose outputs or inputs tensor parallelism divides.
_DIVIDED_OUTPUTS = ("to_qkv", "to_value", "mlp_in")
_DIVIDED_INPUTS = ("to_output", "mlp_out")
# Layers that output tokens of the model's width.
_TOKENS_OUT = "st_block|layer_normalization|dense"
# Small tables: lookups and clustering would gather them on every device anyway.
_TABLES = ("codebook", "embeddings", "recent")


class Sharding(keras.distribution.ModelParallel):
    """A mesh of devices with three axes, and the placement of tensors on it.

    - "data": the batch is divided; each device has all weights (data parallel).
    - "fsdp": the batch, weights, moments and gradients are divided, except for small
      tables (ZeRO stage 3, Rajbhandari et al. 2020).
    - "model": attention heads and the hidden width of feed-forwards are divided (tensor
      parallel, Shoeybi et al. 2019).

    Args:
        mesh: number of devices along each axis, such as {"data": 4, "model": 2}; 1 by
            default. An empty mesh has all devices along "data".
        devices: JAX's devices; by default all of this machine.

    Raises:
        ValueError: if the mesh has other axes, or not exactly these devices.
    """

    def __init__(self, mesh: Mapping[str, int], devices: Sequence | None = None):
        devices = devices or keras.distribution.list_devices()
        mesh = dict(mesh) or {"data": len(devices)}
        unknown = ", ".join(sorted(mesh.keys() - set(_AXES)))
        if unknown:
            raise ValueError(
                f"A mesh has the axes {', '.join(_AXES)}; received {unknown}."
            )
        shape = tuple(mesh.get(axis, 1) for axis in _AXES)
        if math.prod(shape) != len(devices) or min(shape) < 1:
            text = ",".join(f"{axis}:{size}" for axis, size in mesh.items())
            raise ValueError(
                f"The mesh {text} must have exactly the {len(devices)} devices available; "
                f"it has {math.prod(shape)}."
            )
        device_mesh = keras.distribution.DeviceMesh(shape, _AXES, devices)
        super().__init__(layout_map=keras.distribution.LayoutMap(device_mesh))
        self.size = dict(zip(_AXES, shape, strict=True))

    @property
    def num_batch_shares(self) -> int:
        """Number of parts into which a batch is divided."""
        return self.size["data"] * self.size["fsdp"]

    def check_batch(self, size: int, parts: int) -> None:
        """Raise a ValueError if a batch of `size` clips does not divide evenly.

        Args:
            size: clips of all devices together.
            parts: number of parts in which each device processes its share.
        """
        shares = self.num_batch_shares
        if size % (shares * parts):
            raise ValueError(
                f"A batch must split evenly over data x fsdp = {shares} shares of the "
                f"mesh and {parts} parts each; received {size} clips."
            )

    def get_variable_layout(self, variable) -> keras.distribution.TensorLayout:
        return keras.distribution.TensorLayout(
            self.variable_axes(variable.path, variable.shape), self.device_mesh
        )

    def batch_layout(self, axis: int = 0):
        """Return JAX's `NamedSharding` of tensors with the batch on an axis."""
        from jax.sharding import NamedSharding, PartitionSpec

        spec = PartitionSpec(*[None] * axis, ("data", "fsdp"))
        return NamedSharding(self.device_mesh.backend_mesh, spec)

    def get_tensor_layout(self, path: str):
        """Divide the tokens between the layers of a block by the batch only.

        XLA might otherwise divide them like the weights, and gather them.
        """
        *_, layer, _ = path.split("/")
        return self.batch_layout() if re.match(_TOKENS_OUT, layer) else None

    def variable_axes(self, path: str, shape: tuple[int, ...]) -> list[str | None]:
        """Return the mesh axis that divides each dimension of a variable, or None.

        Args:
            path: path of the variable, such as ".../st_block/mlp_in/kernel".
            shape: shape of the variable.

        Raises:
            ValueError: if heads or hidden widths do not divide evenly.
        """
        axes: list[str | None] = [None] * len(shape)
        divided = divided_dimension(path)
        if self.size["model"] > 1 and divided is not None:
            if shape[divided] % self.size["model"]:
                raise ValueError(
                    f"The mesh axis model:{self.size['model']} must divide heads and "
                    f"feed-forwards; {path} has {shape[divided]} columns or rows."
                )
            axes[divided] = "model"
        if self.size["fsdp"] > 1 and path.split("/")[-1] not in _TABLES:
            free = [
                i
                for i, size in enumerate(shape)
                if axes[i] is None and size % self.size["fsdp"] == 0
            ]
            if free:
                axes[max(free, key=lambda i: shape[i])] = "fsdp"
        return axes


def divided_dimension(path: str) -> int | None:
    """Return the dimension of a variable that tensor parallelism divides, or None.

    Args:
        path: path of the variable, such as ".../st_block/mlp_in/kernel".
    """
    *_, layer, name = ("", *path.split("/"))
    if layer in _DIVIDED_OUTPUTS:
        return -1
    return 0 if layer in _DIVIDED_INPUTS and name == "kernel" else None


def make_sharding(mesh: str = "", virtual_devices: int = 1) -> Sharding:
    """Return the sharding for a mesh; call this before anything uses JAX's devices.

    Args:
        mesh: number of devices along each axis, such as "data:4,model:2"; by default all
            are along "data".
        virtual_devices: number of devices to split the CPU into, for tests.

    Raises:
        ValueError: if this machine does not have these devices.
    """
    if virtual_devices < 1:
        raise ValueError(f"virtual_devices must be 1 or more; is {virtual_devices}.")
    sizes = parse_mesh(mesh)
    if virtual_devices > 1:
        import jax

        jax.config.update("jax_num_cpu_devices", virtual_devices)
    return Sharding(sizes)


def parse_mesh(mesh: str) -> dict[str, int]:
    """Return the sizes of a mesh such as "data:4,model:2".

    Raises:
        ValueError: if it is not of this form.
    """
    try:
        pairs = [part.split(":") for part in mesh.split(",") if part]
        return {axis: int(size) for axis, size in pairs}
    except ValueError as error:
        raise ValueError(
            f"A mesh must be like data:4,model:2; received {mesh!r}."
        ) from error
