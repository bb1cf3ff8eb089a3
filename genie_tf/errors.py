"""Errors that programs report in one sentence, whenever they occur."""


class DataError(ValueError):
    """Dataset whose contents contradict its description.

    It can occur in the middle of a run, when data is read.
    """
