"""TFDS builders that write shards in parallel, and resume after a stop.

TFDS writes examples one by one and discards everything when it is stopped. Here one
worker makes each shard from its own part of the data, so the number of workers does not
change its content. Finished shards are kept next to the dataset until it is complete.
"""

import contextlib
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import file_adapters

# Imported lazily: registering a dataset does not need TensorFlow.
from tensorflow_datasets.core.utils.lazy_imports_utils import tensorflow as tf

from genie_tf.files import replacing


class ResumableBuilder(tfds.core.ShardBasedBuilder):
    """Builder whose shards do not depend on each other.

    Subclasses define `_settings`, `_num_workers` and `_shard_iterators_per_split`. Its
    iterators yield the key of each example and its columns: lists of bytes or
    one-dimensional arrays, by their names in tf.train.Example.

    Raises (on building):
        ValueError: if the shards kept from an earlier build have other settings.
        OSError: if a shard cannot be written, or if another program builds the dataset.
    """

    def _settings(self) -> str:
        """Return everything that the content of the shards depends on."""
        raise NotImplementedError

    def _num_workers(self) -> int:
        """Return the number of shards made at a time."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Stop all work in progress."""
        self._cancelled.set()

    def check_cancelled(self) -> None:
        """Raise a CancelledError if the build is canceled; call this regularly."""
        if self._cancelled.is_set():
            raise futures.CancelledError

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        num_workers = self._num_workers()
        generators = self._shard_iterators_per_split(dl_manager)
        folder = self._kept_shards
        self._cancelled = threading.Event()
        tf.io.TFRecordWriter  # noqa: B018  Ctrl-C cannot stop an import in a worker.
        with _claim(folder, self._settings()):
            self._remove_leftovers()
            pool = futures.ThreadPoolExecutor(num_workers, thread_name_prefix="shards")
            try:
                written = {
                    split: [
                        pool.submit(self._write, path, make)
                        for path, make in zip(self._paths(split, len(parts)), parts)
                    ]
                    for split, parts in generators.items()
                }
                for _ in tfds.core.utils.tqdm(
                    (future.result() for split in written.values() for future in split),
                    desc=f"Making {self.name}...",
                    total=sum(map(len, generators.values())),
                    unit=" shards",
                ):
                    pass
            except BaseException:
                self.cancel()
                raise
            finally:
                pool.shutdown(cancel_futures=True)
                if not any(folder.glob(f"{self.name}-*")):
                    shutil.rmtree(folder)  # No shard is finished.
            self.info.set_splits(
                tfds.core.splits.SplitDict(
                    [self._finish(split, written[split]) for split in generators]
                )
            )

    def _post_download_and_prepare_hook(self) -> None:
        shutil.rmtree(self._kept_shards, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Delete the folders that TFDS left behind in killed builds."""
        folder = Path(self.data_path)
        for leftover in folder.parent.glob(f"incomplete.*_{self.version}"):
            if leftover != folder:
                shutil.rmtree(leftover)

    @property
    def _kept_shards(self) -> Path:
        """Folder of the finished shards of an unfinished dataset."""
        return Path(self.data_path.parent) / f"{self.version}.unfinished"

    def _paths(self, split: str, num_shards: int) -> list[Path]:
        """Return the paths at which TFDS expects the shards of a split."""
        template = self._get_filename_template(split)
        return list(map(Path, template.sharded_filepaths(num_shards)))

    def _write(self, path: Path, make: Callable[[], Iterator]) -> int:
        """Make a shard, unless it was kept, and return its number of examples."""
        kept = self._kept_shards / path.name
        adapter = file_adapters.ADAPTER_FOR_FORMAT[self.info.file_format]
        if kept.exists():
            # Checks all checksums of a TFRecord file, in case the disk failed.
            # An empty file has none.
            with contextlib.suppress(tf.errors.DataLossError):
                if num_examples := adapter.num_examples(kept):
                    return num_examples
        num_examples = 0

        def serialize():
            nonlocal num_examples
            for key, columns in make():
                self.check_cancelled()
                num_examples += 1
                yield key, _serialize(columns)

        try:
            with replacing(kept) as unfinished:
                adapter.write_examples(unfinished, serialize())
        except (OSError, tf.errors.OpError) as error:
            reason = error.message if isinstance(error, tf.errors.OpError) else error
            raise OSError(
                f"Shard {path.name} could not be written: {reason}. Finished shards "
                f"are kept in {kept.parent}; rerun the same command to resume."
            ) from error
        return num_examples

    def _finish(self, split: str, written: list[futures.Future]) -> tfds.core.SplitInfo:
        """Move the shards of a split into the dataset, and describe the split."""
        num_bytes = 0
        for path in self._paths(split, len(written)):
            kept = self._kept_shards / path.name
            num_bytes += kept.stat().st_size
            # Linked, because TFDS may still fail and delete the dataset's folder.
            try:
                os.link(kept, path)
            except OSError:  # Some file systems have no links.
                os.replace(kept, path)
        return tfds.core.SplitInfo(
            name=split,
            shard_lengths=[future.result() for future in written],
            num_bytes=num_bytes,
            filename_template=self._get_filename_template(split),
        )


def _serialize(columns: Mapping[str, Sequence[bytes] | np.ndarray]) -> bytes:
    """Serialize columns as a tf.train.Example, deterministically.

    TFDS would encode a dictionary per step, value by value, which takes longer than
    playing a game, and would write the columns in random order.
    """
    features = tf.train.Features(
        feature={name: _to_feature(column) for name, column in columns.items()}
    )
    example = tf.train.Example(features=features)
    return example.SerializeToString(deterministic=True)


def _to_feature(column: Sequence[bytes] | np.ndarray) -> "tf.train.Feature":
    if not isinstance(column, np.ndarray):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=column))
    if np.issubdtype(column.dtype, np.floating):
        return tf.train.Feature(float_list=tf.train.FloatList(value=column.tolist()))
    integers = column.astype(np.int64).tolist()
    return tf.train.Feature(int64_list=tf.train.Int64List(value=integers))


@contextlib.contextmanager
def _claim(folder: Path, settings: str) -> Iterator[None]:
    """Lock a folder of shards with these settings, created if necessary."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "settings.txt", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(f"Another program is writing in {folder}.") from error
        file.seek(0)
        kept = file.read()
        if not kept:
            file.write(settings)
            file.flush()
        elif kept != settings:
            raise ValueError(
                f"The shards kept in {folder} have other settings than this build: "
                "delete that folder, or give your config another name."
            )
        yield
