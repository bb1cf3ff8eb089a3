"""What a server answers: the page, pictures, recordings and the WebSocket of players."""

import asyncio
import functools
import importlib.util
import io
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
from genie_tf.play.places import GaveWay, Places
from genie_tf.play.player import Player

MAX_UPLOADS = 8
UPLOAD_SECONDS = 30
_DECODERS = 2

_HERE = Path(__file__).parent


def make_app(
    server,
    token: str | None = None,
    root_path: str = "",
    allowed_origins: Sequence[str] = (),
) -> Guard:
    """Returns the ASGI application of a `PlayServer`; see `Guard` for the arguments."""
    app = fastapi.FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    shape = server.simulator.frame_shape
    prompts = shipped_prompts(*shape[:2])
    uploads = Places(MAX_UPLOADS)
    decoders = ThreadPoolExecutor(_DECODERS, "genie-play-decoder")
    encoder = asyncio.Lock()

    @app.exception_handler(GaveWay)
    async def gave_way(request, error):
        return _sorry(503, "This was ended for something newer: try again.")

    @app.get("/")
    async def page():
        return FileResponse(_HERE / "page/index.html")

    @app.get("/prompts/{name}.png")
    async def prompt(name: str):
        if name not in prompts:
            return _sorry(404, f"There is no prompt {name}.")
        return Response(prompts[name], media_type="image/png")

    @app.post("/picture")
    async def picture(request: fastapi.Request, fit: str = "crop"):
        async def fitted() -> bytes:
            content = await asyncio.wait_for(_body(request), UPLOAD_SECONDS)
            loop = asyncio.get_running_loop()
            arguments = content, *shape[:2], fit
            work = loop.run_in_executor(decoders, _fitted_png, *arguments)
            return await _unless_gone(request, work)

        try:
            content = await uploads.run(fitted())
        except ValueError as error:
            return _sorry(400, str(error))
        except asyncio.TimeoutError:
            return _sorry(
                408, f"A picture must arrive within {UPLOAD_SECONDS} seconds."
            )
        return Response(content, media_type="image/png")

    @app.get("/recordings/{id}.{form}")
    async def recorded(request: fastapi.Request, id: str, form: str):
        forms = recording_forms()
        if form not in forms:
            return _sorry(404, f"Recordings are {' or '.join(forms)}; received {form}.")
        player = server.seats.get(id)
        if not player or not player.recording:
            return _sorry(404, "There is no such recording: record something first.")
        frames = list(player.recording)

        async def encoded() -> bytes:
            async with encoder:
                return await recording.encode(frames, shape, server.fps, form)

        try:
            content = await player.downloads.run(_unless_gone(request, encoded()))
        except OSError as error:
            return _sorry(500, str(error))
        headers = {"Content-Disposition": f'attachment; filename="world.{form}"'}
        return Response(content, headers=headers, media_type=forms[form])

    @app.websocket("/play")
    async def play(socket: fastapi.WebSocket):
        player = Player(server, socket)
        try:
            await player.play()
        except WebSocketDisconnect:
            pass
        finally:
            server.leave(player)

    app.mount("/", StaticFiles(directory=_HERE / "page"))
    return Guard(app, token, root_path, allowed_origins)


@functools.cache
def recording_forms() -> dict[str, str]:
    """The endings of the files that recordings can be, and what they are called."""
    forms = {"gif": "image/gif"}
    if importlib.util.find_spec("av"):
        forms["mp4"] = "video/mp4"
    return forms


@functools.cache
def shipped_prompts(height: int, width: int) -> dict[str, bytes]:
    """The pictures that ship with the package, at the size of a model's frames."""
    return {
        path.stem: _fitted_png(path.read_bytes(), height, width, "crop")
        for path in sorted((_HERE / "prompts").glob("*.png"))
    }


def _fitted_png(content: bytes, height: int, width: int, fit: str) -> bytes:
    file = io.BytesIO()
    frame = decode_prompt_image(content, height, width, fit)
    Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


async def _body(request: fastapi.Request) -> bytes:
    """What is uploaded, as far as it shows that it is too much."""
    content = bytearray()
    try:
        async for part in request.stream():
            content += part
            if len(content) > MAX_PROMPT_BYTES:
                break
    except ClientDisconnect:
        raise GaveWay from None
    return bytes(content)


async def _unless_gone(request: fastapi.Request, work: Awaitable):
    """Returns the result of work, and ends it if the client leaves.

    Raises:
        GaveWay: if the client has left.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_leave(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise GaveWay
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _leave(request: fastapi.Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _sorry(status: int, message: str) -> JSONResponse:
    return JSONResponse({"message": message}, status)
