"""Test that runs all cells of the notebook."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "train_a_tokenizer.ipynb"


def test_notebook_trains_tokenizer(tmp_path):
    code = []
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if "parameters" in cell["metadata"].get("tags", ()):
            code.append(
                'steps, sizes = 50, {"dim": 64, "num_blocks": 1, "num_heads": 2}'
            )
        elif cell["cell_type"] == "code":
            code.append("".join(cell["source"]))
    result = subprocess.run(
        [sys.executable, "-c", "\n\n".join(code)],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    first, last = re.findall(r"PSNR (.*) dB", result.stdout)
    assert float(last) > float(first) + 2
    assert (tmp_path / "my_tokenizer" / "tokenizer.weights.h5").is_file()
