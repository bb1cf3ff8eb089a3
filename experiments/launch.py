"""Entry points of the console scripts; Ctrl-C works from the first import on."""

import importlib
from collections.abc import Callable

from genie_tf.experiments.interrupts import run_interruptible


def _program(module: str) -> Callable[[], None]:
    def start():
        importlib.import_module(f"genie_tf.experiments.{module}").run()

    return lambda: run_interruptible(start)


arrays = _program("arrays")
convert = _program("convert")
demo = _program("demo")
evaluate = _program("evaluate")
evaluate_agent = _program("evaluate_agent")
export = _program("export")
features = _program("features")
generate = _program("generate")
plan = _program("plan")
play = _program("play")
preview = _program("preview")
recipe = _program("recipe")
tokenize = _program("tokenize_dataset")
train = _program("train")
train_agent = _program("train_agent")
videos = _program("videos")
watch = _program("watch")
