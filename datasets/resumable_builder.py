"""TFDS builders that write shards side by side, and resume where they were stopped.

TFDS writes one example after the other and throws everything away when it is stopped.
Here each shard is made by one worker, from its own part of the data alone, so that the
number of workers changes nothing in it. Whole shards are kept next to the dataset until
that is finished.
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

# Imported when it is used: registering a dataset needs no TensorFlow.
from tensorflow_datasets.core.utils.lazy_imports_utils import tensorflow as tf

from genie_tf.files import replacing


class ResumableBuilder(tfds.core.ShardBasedBuilder):
    """A builder whose shards do not depend on each other.

    Subclasses define `_settings`, `_num_workers` and `_shard_iterators_per_split`, which
    yields the key of each example, and the example as its columns: lists of bytes, or
    arrays of one dimension, by their names in tf.train.Example.

    Raises (on building):
        ValueError: if the shards kept from an earlier build are of other settings.
        OSError: if a shard cannot be written, or if another program builds the same.
    """

    def _settings(self) -> str:
        """All that the content of the shards depends on."""
        raise NotImplementedError

    def _num_workers(self) -> int:
        """How many shards are made at a time."""
        raise NotImplementedError

    def cancel(self) -> None:
        """End all work that is under way, so that nobody waits for it."""
        self._cancelled.set()

    def check_cancelled(self) -> None:
        """Raise a CancelledError once the build is canceled; call it now and then."""
        if self._cancelled.is_set():
            raise futures.CancelledError

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        num_workers = self._num_workers()
        generators = self._shard_iterators_per_split(dl_manager)
        folder = self._kept_shards
        self._cancelled = threading.Event()
        tf.io.TFRecordWriter  # noqa: B018  Ctrl-C can't end an import in a worker.
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
                    shutil.rmtree(folder)  # Nothing is whole.
            self.info.set_splits(
                tfds.core.splits.SplitDict(
                    [self._finish(split, written[split]) for split in generators]
                )
            )

    def _post_download_and_prepare_hook(self) -> None:
        shutil.rmtree(self._kept_shards, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Delete the folders that TFDS made for builds which have been killed."""
        folder = Path(self.data_path)
        for leftover in folder.parent.glob(f"incomplete.*_{self.version}"):
            if leftover != folder:
                shutil.rmtree(leftover)

    @property
    def _kept_shards(self) -> Path:
        """The folder of whole shards of a dataset that is not."""
        return Path(self.data_path.parent) / f"{self.version}.unfinished"

    def _paths(self, split: str, num_shards: int) -> list[Path]:
        """Where TFDS wants the shards of a split."""
        template = self._get_filename_template(split)
        return list(map(Path, template.sharded_filepaths(num_shards)))

    def _write(self, path: Path, make: Callable[[], Iterator]) -> int:
        """Make a shard, unless it was kept; returns its number of examples."""
        kept = self._kept_shards / path.name
        adapter = file_adapters.ADAPTER_FOR_FORMAT[self.info.file_format]
        if kept.exists():
            # Reads all of a TFRecord file and compares the checksums, for the disk may
            # have failed. An empty file has none.
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
                f"Shard {path.name} could not be written: {reason}. Whole shards are "
                f"kept in {kept.parent}; rerun the same command to resume."
            ) from error
        return num_examples

    def _finish(self, split: str, written: list[futures.Future]) -> tfds.core.SplitInfo:
        """Put the shards of a split into the dataset, and return what is in them."""
        num_bytes = 0
        for path in self._paths(split, len(written)):
            kept = self._kept_shards / path.name
            num_bytes += kept.stat().st_size
            # Until TFDS has renamed the dataset's folder, that may be lost: a link stays.
            try:
                os.link(kept, path)
            except OSError:  # Not all file systems have links.
                os.replace(kept, path)
        return tfds.core.SplitInfo(
            name=split,
            shard_lengths=[future.result() for future in written],
            num_bytes=num_bytes,
            filename_template=self._get_filename_template(split),
        )


def _serialize(columns: Mapping[str, Sequence[bytes] | np.ndarray]) -> bytes:
    """The tf.train.Example of these columns, in bytes that depend on nothing else.

    TFDS would take a dictionary for each step and encode its values one by one, which
    takes longer than playing a game, and write the columns in random order.
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
    """Hold a folder of shards of these settings, made if need be, for this program."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "settings.txt", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(f"Another program is writing in {folder}.") from error
        file.seek(0)
        found = file.read()
        if not found:
            file.write(settings)
            file.flush()
        elif found != settings:
            raise ValueError(
                f"The shards kept in {folder} are of other settings than those asked "
                "for: delete that folder, or give your config another name."
            )
        yield
