"""Chooses the devices to train on: `tf.distribute` strategies by name."""

import json
import os

import tensorflow as tf

_STRATEGIES = ("auto", "one", "mirrored", "multi_worker", "tpu")


def make_strategy(
    name: str = "auto", tpu: str | None = None, virtual_devices: int = 1
) -> tf.distribute.Strategy:
    """Return a strategy by name; call this before anything uses TensorFlow's devices.

    Args:
        name: "one" device; "mirrored", all GPUs or virtual CPUs of this machine;
            "multi_worker", the cluster in the environment variable TF_CONFIG; "tpu";
            "auto", the first available of TPU by name, TF_CONFIG, several devices, one.
        tpu: name or address of the TPU, for `TPUClusterResolver`.
        virtual_devices: number of devices to split the CPU into, for tests.

    Raises:
        ValueError: if this machine does not have these devices.
    """
    if name not in _STRATEGIES:
        raise ValueError(
            f"The strategy must be one of {', '.join(_STRATEGIES)}; received {name!r}."
        )
    if virtual_devices < 1:
        raise ValueError(f"virtual_devices must be 1 or more; is {virtual_devices}.")
    workers = _workers()
    if name == "auto" and tpu:
        name = "tpu"
    if name == "auto" and len(workers) > 1:
        name = "multi_worker"
    if name == "tpu":
        return _tpu_strategy(tpu)
    if virtual_devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * virtual_devices
        )
    if name == "multi_worker":
        if not workers:
            raise ValueError(
                "The strategy multi_worker expects the environment variable TF_CONFIG "
                "to name all workers and the task of this one; it names none."
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    kind = "CPU" if virtual_devices > 1 else "GPU"
    devices = tf.config.list_logical_devices(kind)
    if name == "mirrored" or (name == "auto" and len(devices) > 1):
        return tf.distribute.MirroredStrategy(
            [device.name for device in devices] or None
        )
    return tf.distribute.get_strategy()


def _workers() -> list[str]:
    """Return the addresses of the workers in TF_CONFIG."""
    text = os.environ.get("TF_CONFIG", "{}")
    try:
        cluster = json.loads(text).get("cluster", {})
        return [*cluster.get("chief", []), *cluster.get("worker", [])]
    except (ValueError, AttributeError) as error:
        raise ValueError(
            'TF_CONFIG must be like {"cluster": {"worker": ["HOST:PORT", ...]}, "task": '
            f'{{"type": "worker", "index": 0}}}}; received {text}.'
        ) from error


def _tpu_strategy(tpu: str | None) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu or "")
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, OSError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(
            f"The strategy tpu found no TPU{f' {tpu}' if tpu else ''}: pass its name or "
            "address as --tpu, or choose another strategy "
            f"({str(error).splitlines()[0]})."
        ) from error
