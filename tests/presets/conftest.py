"""Presets for tests to load and damage."""

import os
import shutil
import socket

import pytest

from genie_tf.presets.saving import save_preset
from genie_tf.testing.presets import changed_genie


@pytest.fixture(scope="session")
def genie():
    return changed_genie()


@pytest.fixture(scope="session")
def saved(genie, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "preset"
    save_preset(genie, folder, "A card.")
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """Copy of the Genie's preset that a test can change."""
    return shutil.copytree(saved, tmp_path / "preset")


def unlink(path):
    path.unlink()


def make_fifo(path):
    path.unlink()
    os.mkfifo(path)


def make_socket(path):
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # Socket names must be short.


def make_folder(path):
    path.unlink()
    path.mkdir()


def link_to_fifo(path):
    os.mkfifo(path.with_name("fifo"))
    path.unlink()
    path.symlink_to("fifo")


def link_to_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def link_to_nothing(path):
    path.unlink()
    path.symlink_to("nothing")


@pytest.fixture(
    params=[
        unlink,
        make_fifo,
        make_socket,
        make_folder,
        link_to_fifo,
        link_to_device,
        link_to_nothing,
    ]
)
def replace(request):
    """Function that replaces a file by something that is not a regular file."""
    return request.param
