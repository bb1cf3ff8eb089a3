"""Errors that programs end with in one sentence, whenever they come up."""


class DataError(ValueError):
    """A dataset does not hold what its form promises.

    It may only be found while data is read, in the middle of a run.
    """
