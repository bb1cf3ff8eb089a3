"""Tests of uploads and recordings."""

import asyncio
import contextlib
import http.client
import io
import json
import threading

import numpy as np
import pytest
from PIL import Image

from genie_tf.media import recording
from genie_tf.play import app, player

LEFT, RIGHT, UP, DOWN = range(4)


def request(port: int, method: str, path: str, body: bytes | None = None):
    """Return the status and content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content


def error_message(response) -> str:
    return json.loads(response[1])["message"]


def png(width: int, height: int, color="red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("fit", "corner"), [("crop", 255), ("pad", 0)])
def test_image_is_fitted_to_frame(port, fit, corner):
    status, content = request(port, "POST", f"/picture?fit={fit}", png(300, 100))
    assert status == 200
    image = np.asarray(Image.open(io.BytesIO(content)))
    assert image.shape == (16, 16, 3)
    assert image[0, 0].tolist() == [corner, 0, 0]


@pytest.mark.parametrize(
    ("path", "content", "sentence"),
    [
        (
            "/picture",
            b"text",
            "The prompt image cannot be used: it cannot be read as a PNG, JPEG or GIF "
            "image.",
        ),
        ("/picture?fit=x", png(9, 9), "`fit` must be one of crop, pad; received x."),
        (
            "/picture",
            bytes(17 << 20),
            "The prompt image cannot be used: it is larger than 16 MiB.",
        ),
        (
            "/picture",
            png(7_000, 7_000),
            "The prompt image cannot be used: it has more than 40 million pixels, or a "
            "side of more than 65,535.",
        ),
    ],
)
def test_unusable_image_is_rejected_in_one_sentence(port, path, content, sentence):
    response = request(port, "POST", path, content)
    assert response[0] == 400
    assert error_message(response) == sentence


def test_prompts_have_frame_size(port, open_page):
    for name in open_page(port).hello["prompts"]:
        status, content = request(port, "GET", f"/prompts/{name}.png")
        assert status == 200
        assert Image.open(io.BytesIO(content)).size == (16, 16)
    response = request(port, "GET", "/prompts/none.png")
    assert response[0] == 404 and error_message(response) == "There is no prompt none."


@pytest.mark.parametrize("form", ["gif", "mp4"])
def test_recording_can_be_downloaded(serve, open_page, form):
    port = serve()
    page = open_page(port)
    page.start()
    page.send("record", on=True)
    for _ in range(5):
        page.send("step", action=RIGHT)
        page.receive_frame()
    page.send("record", on=False)
    report = page.receive("report")
    while report["recording"] or not report["recorded"]:
        report = page.receive("report")
    status, content = request(port, "GET", f"/recordings/{page.hello['id']}.{form}")
    assert status == 200
    if form == "gif":
        with Image.open(io.BytesIO(content)) as gif:
            assert (gif.n_frames, gif.size) == (6, (256, 256))
    else:
        assert content[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("limit", "value"),
    [("RECORDED_SECONDS", 0.1), ("MAX_RECORDED_BYTES", 5 * 16 * 16 * 3)],
)
def test_recording_stops_when_full(serve, open_page, monkeypatch, limit, value):
    monkeypatch.setattr(player, limit, value)
    port = serve(fps=50)
    page = open_page(port)
    page.start()
    page.send("record", on=True)
    page.send("act", action=RIGHT, id=1)
    for _ in range(12):
        page.receive_frame()
    _, content = request(port, "GET", f"/recordings/{page.hello['id']}.gif")
    assert Image.open(io.BytesIO(content)).n_frames == 5


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("x.gif", "There is no such recording: record something first."),
        ("x.exe", "A recording must be gif or mp4; received exe."),
    ],
)
def test_missing_recording_is_reported(port, path, sentence):
    response = request(port, "GET", f"/recordings/{path}")
    assert response[0] == 404 and error_message(response) == sentence


def begin_upload(port: int) -> http.client.HTTPConnection:
    """Send the first part of an upload."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("POST", "/picture")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"some")
    return connection


def test_slow_uploads_do_not_block_others(port):
    slow = [begin_upload(port) for _ in range(2 * app.MAX_UPLOADS)]
    assert request(port, "POST", "/picture", png(9, 9))[0] == 200
    # The oldest uploads were canceled.
    answer = slow[0].getresponse()
    assert answer.status == 503
    assert json.loads(answer.read())["message"] == (
        "A newer request replaced this one: try again."
    )
    for connection in slow:
        connection.close()


def test_slow_decoding_does_not_block_others(port, monkeypatch):
    def decode(content, height, width, fit):
        if content == b"slow":
            begun.set()
            ended.wait(10)
        return np.zeros((height, width, 3), "uint8")

    begun, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(app, "decode_prompt_image", decode)
    slow = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    slow.request("POST", "/picture", b"slow")
    begun.wait(10)
    assert request(port, "POST", "/picture", b"quick")[0] == 200
    ended.set()
    assert slow.getresponse().status == 200
    slow.close()


def test_aborted_upload_logs_no_error(port, caplog):
    begin_upload(port).close()
    assert request(port, "POST", "/picture", png(9, 9))[0] == 200
    assert not caplog.records


@contextlib.contextmanager
def slow_recordings(monkeypatch):
    """Make encoding never finish; yield semaphores for encodings begun and ended."""

    async def encode(*_):
        begun.release()
        try:
            await asyncio.sleep(100)
        finally:
            ended.release()

    begun, ended = threading.Semaphore(0), threading.Semaphore(0)
    monkeypatch.setattr(recording, "encode", encode)
    yield begun, ended


def request_recording(port: int, page) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", f"/recordings/{page.hello['id']}.gif")
    return connection


def record(page):
    page.start()
    page.send("record", on=True)
    page.send("step", action=RIGHT)
    page.receive_frame()


def test_encoding_is_canceled_when_client_leaves(port, open_page, monkeypatch):
    page = open_page(port)
    record(page)
    with slow_recordings(monkeypatch) as (begun, ended):
        connection = request_recording(port, page)
        assert begun.acquire(timeout=10) and not ended.acquire(timeout=0.1)
        connection.close()
        assert ended.acquire(timeout=10)


def test_new_download_cancels_previous_one(port, open_page, monkeypatch):
    page = open_page(port)
    record(page)
    with slow_recordings(monkeypatch) as (begun, ended):
        connections = [request_recording(port, page)]
        for _ in range(3):
            assert begun.acquire(timeout=10)
            connections.append(request_recording(port, page))
            assert ended.acquire(timeout=10)
            assert connections[-2].getresponse().status == 503
        for connection in connections:
            connection.close()


def test_failed_recording_is_reported(port, open_page, monkeypatch):
    async def encode(*_):
        raise OSError("The recording cannot be made: no space left on device")

    page = open_page(port)
    record(page)
    monkeypatch.setattr(recording, "encode", encode)
    response = request(port, "GET", f"/recordings/{page.hello['id']}.gif")
    assert response[0] == 500
    assert (
        error_message(response)
        == "The recording cannot be made: no space left on device"
    )


def test_slow_uploads_time_out(serve, monkeypatch):
    monkeypatch.setattr(app, "UPLOAD_SECONDS", 0.2)
    response = begin_upload(serve()).getresponse()
    assert response.status == 408
    assert json.loads(response.read())["message"] == (
        "The image must arrive within 0.2 seconds."
    )
