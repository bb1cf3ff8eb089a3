"""HTTP and WebSocket routes: the page, images, recordings and players."""

import asyncio
import functools
import importlib.util
import io
import secrets
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fastapi
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from PIL import Image
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from genie_tf.media import recording
from genie_tf.media.prompt_images import MAX_PROMPT_BYTES, decode_prompt_image
from genie_tf.play.guard import Guard
from genie_tf.play.host import Host
from genie_tf.play.network import keep_open
from genie_tf.play.player import Player
from genie_tf.play.work_slots import WorkDropped, WorkSlots

MAX_UPLOADS = 8
UPLOAD_SECONDS = 30
_DECODERS = 2

_HERE = Path(__file__).parent


def make_app(
    host: Host,
    token: str | None = None,
    root_path: str = "",
    allowed_origins: Sequence[str] = (),
) -> Guard:
    """Return the ASGI application of a `Host`; see `Guard` for the other arguments."""
    app = fastapi.FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    shape = host.simulator.frame_shape
    prompts = _shipped_prompts(*shape[:2])
    images = dict(prompts)
    if host.prompt:
        images["own"] = _as_png(host.prompt.frames[-1])
    recording_formats = {"gif": "image/gif"}
    if importlib.util.find_spec("av"):
        recording_formats["mp4"] = "video/mp4"
    players: dict[str, Player] = {}
    uploads = WorkSlots(MAX_UPLOADS)
    decoders = ThreadPoolExecutor(_DECODERS, "genie-play-decoder")
    encoder = asyncio.Lock()

    @app.exception_handler(WorkDropped)
    async def dropped(request, error):
        return _error(503, "A newer request replaced this one: try again.")

    @app.get("/")
    async def page():
        return FileResponse(_HERE / "page/index.html")

    @app.get("/prompts/{name}.png")
    async def prompt(name: str):
        if name not in images:
            return _error(404, f"There is no prompt {name}.")
        return Response(images[name], media_type="image/png")

    @app.post("/picture")
    async def fit_image(request: fastapi.Request, fit: str = "crop"):
        async def work() -> bytes:
            content = await asyncio.wait_for(_read_body(request), UPLOAD_SECONDS)
            loop = asyncio.get_running_loop()
            arguments = content, *shape[:2], fit
            decoding = loop.run_in_executor(decoders, _fit_as_png, *arguments)
            return await _unless_client_leaves(request, decoding)

        try:
            content = await uploads.run(work())
        except ValueError as error:
            return _error(400, str(error))
        except asyncio.TimeoutError:
            return _error(
                408, f"The image must arrive within {UPLOAD_SECONDS} seconds."
            )
        return Response(content, media_type="image/png")

    @app.get("/recordings/{id}.{form}")
    async def download(request: fastapi.Request, id: str, form: str):
        if form not in recording_formats:
            expected = " or ".join(recording_formats)
            return _error(404, f"A recording must be {expected}; received {form}.")
        player = players.get(id)
        if not player or not player.recording:
            return _error(404, "There is no such recording: record something first.")
        frames = list(player.recording)

        async def encode() -> bytes:
            async with encoder:
                return await recording.encode(frames, shape, host.fps, form)

        try:
            work = _unless_client_leaves(request, encode())
            content = await player.downloads.run(work)
        except OSError as error:
            return _error(500, str(error))
        headers = {"Content-Disposition": f'attachment; filename="world.{form}"'}
        return Response(content, headers=headers, media_type=recording_formats[form])

    @app.websocket("/play")
    async def play(socket: fastapi.WebSocket):
        id = secrets.token_urlsafe()

        def take_seat():
            host.take_seat(id)
            keep_open(socket.scope)

        players[id] = Player(
            socket,
            host.simulator,
            host.share(),
            host.fps,
            host.sampling,
            take_seat,
            host.start_timeline,
            host.prompt is not None,
        )
        files = {"prompts": list(prompts), "recordings": list(recording_formats)}
        try:
            await socket.accept()
            await socket.send_json(
                {"type": "hello", "id": id, **host.describe(), **files}
            )
            await players[id].play()
        except WebSocketDisconnect:
            pass
        finally:
            del players[id]
            host.free_seat(id)

    app.mount("/", StaticFiles(directory=_HERE / "page"))
    return Guard(app, token, root_path, allowed_origins)


@functools.cache
def _shipped_prompts(height: int, width: int) -> dict[str, bytes]:
    """Return the package's prompt images as PNGs of a given size, by name."""
    return {
        path.stem: _fit_as_png(path.read_bytes(), height, width, "crop")
        for path in sorted((_HERE / "prompts").glob("*.png"))
    }


def _fit_as_png(content: bytes, height: int, width: int, fit: str) -> bytes:
    return _as_png(decode_prompt_image(content, height, width, fit))


def _as_png(frame) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


async def _read_body(request: fastapi.Request) -> bytes:
    """Return an uploaded body, truncated just after `MAX_PROMPT_BYTES`."""
    content = bytearray()
    try:
        async for part in request.stream():
            content += part
            if len(content) > MAX_PROMPT_BYTES:
                break
    except ClientDisconnect:
        raise WorkDropped from None
    return bytes(content)


async def _unless_client_leaves(request: fastapi.Request, work: Awaitable):
    """Return the result of `work`, canceling it if the client leaves.

    Raises:
        WorkDropped: if the client has left.
    """
    task = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise WorkDropped
        return task.result()
    finally:
        task.cancel()
        leaving.cancel()


async def _wait_for_disconnect(request: fastapi.Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"message": message}, status)
