"""Slices of TPUs, as devices that programs can be compiled for without having them."""

import math
import os
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """Peaks of a TPU chip.

    Args:
        flops: products per second in bfloat16.
        memory: bytes that the compiler lets a program use.
        bandwidth: bytes per second between memory and chip.
        link: bytes per second of one link to another chip, in one direction.
        dimensions: of the mesh in which chips are linked.
    """

    flops: float
    memory: float
    bandwidth: float
    link: float
    dimensions: int


# From https://docs.cloud.google.com/tpu/docs/v4, v5e, v5p and v6e. A chip has two links per
# dimension; these pages have the bandwidth of all links, except for v4: Jouppi et al. 2023
# (arXiv 2304.01433), table 4. The memory is that in errors of libtpu 0.0.17, except for v5p.
_GIB = 2**30
CHIPS = {
    "v4": Chip(275e12, 30.75 * _GIB, 1200e9, 50e9, 3),
    "v5e": Chip(197e12, 15.75 * _GIB, 819e9, 50e9, 2),
    "v5p": Chip(459e12, 95e9, 2765e9, 100e9, 3),
    "v6e": Chip(918e12, 31.25 * _GIB, 1638e9, 100e9, 2),
}


@dataclass(frozen=True)
class TpuSlice:
    """Chips of one kind, in a mesh.

    Args:
        name: kind and shape, such as "v5e:4x8".

    Raises:
        ValueError: if there is no such kind of chip, or the shape is not one of its
            meshes.
    """

    name: str

    def __post_init__(self):
        kind, _, shape = self.name.partition(":")
        if kind not in CHIPS or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", shape):
            raise ValueError(
                "--compile_for must be a kind of TPU and the shape of a slice, such as "
                f"v5e:4x8 or v5p:4x4x4 ({', '.join(CHIPS)}); is {self.name!r}."
            )
        if len(self.shape) != self.chip.dimensions:
            raise ValueError(
                f"A slice of {kind} has {self.chip.dimensions} dimensions; is "
                f"{self.name!r}."
            )

    @property
    def kind(self) -> str:
        return self.name.partition(":")[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(map(int, self.name.partition(":")[2].split("x")))

    @property
    def chip(self) -> Chip:
        return CHIPS[self.kind]

    @property
    def num_chips(self) -> int:
        return math.prod(self.shape)

    def devices(self) -> list:
        """Return JAX's devices of the slice, for compiling only.

        Raises:
            ValueError: if libtpu does not know such a slice.
        """
        import jax
        from jax.experimental import topologies

        # Do not wait for servers that only TPU machines have, accept other processes that
        # use libtpu, and write no logs to /tmp.
        for name, value in {
            "TPU_SKIP_MDS_QUERY": "1",
            "TPU_ACCELERATOR_TYPE": "v5litepod-1",
            "TPU_WORKER_HOSTNAMES": "localhost",
            "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
            "TPU_LOG_DIR": "disabled",
        }.items():
            os.environ.setdefault(name, value)
        # Programs compiled for absent devices cannot be stored there.
        jax.config.update("jax_enable_compilation_cache", False)
        options = {}
        if self.num_chips == 1:  # By default, a machine has four.
            options["chips_per_host_bounds"] = (1, 1, 1)
        if self.kind == "v4":  # Its two cores are one device.
            options["chip_config_name"] = "megacore"
        try:
            slice_ = topologies.get_topology_desc(self.name, "tpu", **options)
        except jax.errors.JaxRuntimeError as error:
            text = str(error).splitlines()[0]
            raise ValueError(
                f"libtpu does not know the slice {self.name}: {text}"
            ) from error
        return list(slice_.devices)
