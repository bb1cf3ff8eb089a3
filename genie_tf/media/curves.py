"""Plots of training metrics."""

import io
import numbers
import pathlib

from genie_tf.files import write_file


def plot_curves(path, records, keys=None):
    """Plot each metric over the steps of a training run.

    Args:
        path: name of the image file, ending in .png, .svg or .pdf.
        records: dicts with `step` and metrics, such as the lines of `metrics.jsonl`;
            not every record needs every metric.
        keys: names of the metrics; all numeric ones if not given.

    Raises:
        ValueError: if a metric is in no record, or no record has a metric.
    """
    known = dict.fromkeys(
        key
        for record in records
        for key, value in record.items()
        if key != "step" and isinstance(value, numbers.Real)
    )
    keys = list(known) if keys is None else list(keys)
    missing = [key for key in keys if key not in known]
    if missing or not keys:
        raise ValueError(
            f"No record has {', '.join(missing) or 'any metric'}; the records have "
            f"{', '.join(known) or 'none'}."
        )
    from matplotlib.figure import Figure  # pyplot would add global state.

    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows), layout="constrained")
    for index, key in enumerate(keys):
        axes = figure.add_subplot(rows, columns, index + 1)
        points = [(record["step"], record[key]) for record in records if key in record]
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else None)
        axes.set_title(key, fontsize="medium")
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    content = io.BytesIO()
    figure.savefig(content, dpi=120, format=pathlib.Path(path).suffix[1:] or "png")
    write_file(path, content.getbuffer())
