"""The server of a world in the browser: the page, pictures, players and recordings."""

import asyncio
import functools
import importlib.util
import io
import ipaddress
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fastapi
import numpy as np
import uvicorn
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from PIL import Image

from genie_tf import media
from genie_tf.play.guard import Guard
from genie_tf.play.messages import MAX_STEPS, MAX_TEMPERATURE
from genie_tf.play.player import Player
from genie_tf.play.simulator import Simulator
from genie_tf.play.timeline import Timeline
from genie_tf.samplers import Sampling
from genie_tf.samplers.maskgit_sampler import ORDERS

MAX_CONNECTIONS = 500
MAX_MESSAGE_BYTES = 2**20  # A picture to start from is the largest.
UPLOAD_SECONDS = 30
# Of each player.
MAX_MOMENTS = 720
MAX_BRANCHES = 3
MAX_STATE_BYTES = 128 * 2**20

_DEFAULT = Sampling()
_HERE = Path(__file__).parent
_RECORDED_WIDTH = 256  # A frame is enlarged to about this.


class PlayServer:
    """All that players share: the world, the thread that runs it, and the seats.

    Args:
        simulator: a `Simulator`, or what behaves as one.
        name: of the world, to show.
        action_names: a short text for each action; none if not given.
        keys: actions by the keys of a keyboard, as browsers name them.
        fps: frames a second that a world is played at, at most 50.
        max_players: how many may have a world at the same time.
        sampling: how frames are made, until a player changes it.

    Raises:
        ValueError: if a page could not set such a `sampling`.
    """

    def __init__(
        self,
        simulator: Simulator,
        name: str,
        action_names: Sequence[str] = (),
        keys: Mapping[str, int] | None = None,
        fps: int = 24,
        max_players: int = 8,
        sampling: Sampling = _DEFAULT,
    ):
        if sampling.num_steps > MAX_STEPS or sampling.temperature > MAX_TEMPERATURE:
            raise ValueError(
                f"Worlds are played with at most {MAX_STEPS} steps a frame and a "
                f"temperature of {MAX_TEMPERATURE}; received {sampling.num_steps} and "
                f"{sampling.temperature}."
            )
        self.simulator = simulator
        self.fps = fps
        self.sampling = sampling
        self.seats: dict[str, Player] = {}
        self._max_players = max_players
        self._world = {
            "name": name,
            "action_names": list(action_names),
            "keys": dict(keys or {}),
        }
        # First come, first served, and each player asks for one thing at a time: so they
        # take turns.
        self._worker = ThreadPoolExecutor(1, "genie-play")
        self._state_bytes = simulator.warm_up()

    def greeting(self, id: str) -> dict:
        """What a page has to know first."""
        height, width, _ = self.simulator.frame_shape
        return {
            "type": "hello",
            "id": id,
            **self._world,
            "height": height,
            "width": width,
            "num_actions": self.simulator.num_actions,
            "fps": self.fps,
            "settings": {
                name: getattr(self.sampling, name)
                for name in ("num_steps", "temperature", "order")
            },
            "orders": ORDERS,
            "max_steps": MAX_STEPS,
            "max_temperature": MAX_TEMPERATURE,
            "prompts": list(_prompts(height, width)),
            "recordings": list(_recordings()),
        }

    async def work(self, function: Callable, *arguments):
        """Runs a function in the thread of the model, when it is its turn."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, function, *arguments)

    def begin(self, picture: bytes) -> Timeline:
        """A world that starts from a picture."""
        limits = MAX_MOMENTS, MAX_BRANCHES, MAX_STATE_BYTES, self._state_bytes
        return Timeline(self.simulator, picture, *limits)

    def seat(self, player: Player) -> None:
        """Gives a player a seat, which `leave` frees.

        Raises:
            ValueError: if all are taken.
        """
        if player.id not in self.seats and len(self.seats) >= self._max_players:
            raise ValueError(
                f"All {self._max_players} seats are taken: try again when somebody has "
                "left."
            )
        self.seats[player.id] = player

    def leave(self, player: Player) -> None:
        """Frees a player's seat."""
        self.seats.pop(player.id, None)

    def app(self, token: str | None = None) -> Guard:
        """The ASGI application.

        Args:
            token: what a visitor has to know; None to let in whoever comes from this
                machine.
        """
        app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        height, width, _ = self.simulator.frame_shape
        # Pictures and recordings are large, and are made one at a time.
        uploads, recordings = asyncio.Semaphore(1), asyncio.Semaphore(1)

        @app.get("/")
        async def page():
            return FileResponse(_HERE / "page/index.html")

        @app.get("/prompts/{name}.png")
        async def prompt(name: str):
            if name not in _prompts(height, width):
                return _sorry(404, f"There is no prompt {name}.")
            return Response(_prompts(height, width)[name], media_type="image/png")

        @app.post("/picture")
        async def picture(request: fastapi.Request, fit: str = "crop"):
            try:
                async with uploads:
                    content = await asyncio.wait_for(_body(request), UPLOAD_SECONDS)
                    fitted = await asyncio.to_thread(
                        _fitted_png, content, height, width, fit
                    )
            except ValueError as error:
                return _sorry(400, str(error))
            except asyncio.TimeoutError:
                return _sorry(
                    408, f"A picture must arrive within {UPLOAD_SECONDS} seconds."
                )
            return Response(fitted, media_type="image/png")

        @app.get("/recordings/{id}.{form}")
        async def recording(id: str, form: str):
            if form not in _recordings():
                return _sorry(
                    404,
                    f"Recordings are {' or '.join(_recordings())}; received {form}.",
                )
            if id not in self.seats or not self.seats[id].recording:
                return _sorry(
                    404, "There is no such recording: record something first."
                )
            frames = list(self.seats[id].recording)
            async with recordings:
                content = await asyncio.to_thread(self._recorded, frames, form)
            headers = {"Content-Disposition": f'attachment; filename="world.{form}"'}
            return Response(content, headers=headers, media_type=_recordings()[form])

        @app.websocket("/play")
        async def play(socket: fastapi.WebSocket):
            player = Player(self, socket)
            try:
                await player.play()
            finally:
                self.leave(player)

        app.mount("/", StaticFiles(directory=_HERE / "page"))
        return Guard(app, token)

    def _recorded(self, frames: list[bytes], form: str) -> bytes:
        """A recording as a file, enlarged so that its pixels can be seen."""
        video = np.frombuffer(b"".join(frames), "uint8")
        video = video.reshape(len(frames), *self.simulator.frame_shape)
        scale = max(1, _RECORDED_WIDTH // self.simulator.frame_shape[1])
        video = media.grid([video], scale=scale)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"world.{form}")
            media.save_video(path, video, self.fps)
            return path.read_bytes()


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address, before the work of loading a model begins.

    Raises:
        ValueError: if it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ValueError(
            f"Cannot serve at {host}, port {port}: {error.strerror}. Choose another."
        ) from error
    return bound


def is_loopback(host: str) -> bool:
    """Whether a host is this machine to itself, which no other can reach."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def web_server(app: Guard) -> uvicorn.Server:
    """What serves an application: `run(sockets=[...])` does so until it is interrupted."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


async def _body(request: fastapi.Request) -> bytes:
    """What was uploaded, as far as it shows that it is too much."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > media.MAX_PROMPT_BYTES:
            break
    return bytes(content)


def _sorry(status: int, message: str) -> JSONResponse:
    return JSONResponse({"message": message}, status)


@functools.cache
def _recordings() -> dict[str, str]:
    """The endings of the files that recordings can be, and what they are called."""
    forms = {"gif": "image/gif"}
    if importlib.util.find_spec("av"):
        forms["mp4"] = "video/mp4"
    return forms


@functools.cache
def _prompts(height: int, width: int) -> dict[str, bytes]:
    """The pictures that ship with the package, at the size of a model's frames."""
    return {
        path.stem: _fitted_png(path.read_bytes(), height, width, "crop")
        for path in sorted((_HERE / "prompts").glob("*.png"))
    }


def _fitted_png(content: bytes, height: int, width: int, fit: str) -> bytes:
    file = io.BytesIO()
    frame = media.load_prompt_image(content, height, width, fit)
    Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


# What `media.load_prompt_image` does with files of the right size, for bytes of any.
