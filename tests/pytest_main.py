"""Runs pytest on the files named; the main program of each test under Bazel."""

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(["--import-mode=importlib", *sys.argv[1:]]))
