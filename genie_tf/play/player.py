"""One player: handles the page's messages and sends frames at a steady rate."""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Mapping

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from genie_tf.play.messages import AGAIN, NEW, PREVIEW, pack_frame, parse
from genie_tf.play.scheduler import Share
from genie_tf.play.simulator import Simulator
from genie_tf.play.timeline import Moment, Timeline
from genie_tf.play.work_slots import WorkSlots

IDLE_SECONDS = 600
MAX_COMMANDS = 8  # Commands waiting for their turn.
MAX_UNSEEN = 3  # Frames sent but not yet drawn.
PREVIEW_FRAMES = 10
RECORDED_SECONDS = 30
MAX_RECORDED_BYTES = 64 * 2**20
# Previews and recomputed frames yield to the frames of other players.
_PREVIEW_COST = 4
_POLICY = 1008  # WebSocket close code: policy violation.


class Player:
    """Player in one browser tab: a connection and the world played over it.

    There are two tasks. One receives messages immediately; the other runs commands in
    order and makes frames while a key is held. A page that is slow to confirm its frames
    gets fewer of them, and does not slow down other players.

    Args:
        socket: accepted connection.
        simulator: a `Simulator`, or an object with the same methods.
        share: share of the simulator thread's time.
        fps: frames per second while a key is held.
        sampling: initial values of all settings, which the page can change.
        take_seat: called before each world; raises a ValueError if no seat is free.
        start_timeline: starts a world from an image, or None for the host's prompt.
        has_prompt: whether the host has a prompt.

    Attributes:
        recording: recorded frames.
        downloads: slots in which the recording is encoded.
    """

    def __init__(
        self,
        socket: WebSocket,
        simulator: Simulator,
        share: Share,
        fps: int,
        sampling: Mapping,
        take_seat: Callable[[], None],
        start_timeline: Callable[[bytes | None], Timeline],
        has_prompt: bool = False,
    ):
        self.recording: list[bytes] = []
        self.downloads = WorkSlots(1)
        self._socket = socket
        self._simulator = simulator
        self._share = share
        self._fps = fps
        self._sampling = sampling
        self._take_seat = take_seat
        self._start_timeline = start_timeline
        self._has_prompt = has_prompt
        self._sending = asyncio.Lock()
        self._timeline: Timeline | None = None
        # Action of the held key, action of a key pressed since the last frame (even if
        # released again), and id of the newest message about them.
        self._held_action: int | None = None
        self._pressed: deque[int] = deque(maxlen=1)
        self._input_id = 0
        self._paused = False
        self._is_recording = False
        self._commands: deque[dict] = deque()
        self._unseen = 0
        self._wake = asyncio.Event()
        self._reported: dict = {}

    async def play(self) -> None:
        """Serve the page until it leaves or is disconnected."""
        tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._act())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, str):
                await self._socket.close(_POLICY, result)
            elif isinstance(result, Exception):
                if not isinstance(result, WebSocketDisconnect):
                    raise result

    # Messages from the page.

    async def _receive(self) -> str | None:
        """Return why the page must be disconnected, or None if it left by itself."""
        while True:
            try:
                message = await asyncio.wait_for(self._socket.receive(), IDLE_SECONDS)
            except asyncio.TimeoutError:
                return f"This page sent nothing for {IDLE_SECONDS} seconds."
            if message["type"] == "websocket.disconnect":
                return None
            try:
                self._handle(message)
            except ValueError as error:
                await self._send_error(error)
            self._wake.set()

    def _handle(self, message: dict) -> None:
        """Run a command that sends no frames, and queue any other."""
        if message.get("bytes") is not None:
            command = {"type": "start", "prompt": message["bytes"]}
        else:
            simulator = self._simulator
            command = parse(message["text"], simulator.num_actions, simulator.settings)
        if command["type"] == "act":
            self._held_action, self._input_id = command["action"], command["id"]
            if self._held_action is not None:
                self._pressed.append(self._held_action)
        elif command["type"] == "seen":
            self._unseen = max(self._unseen - 1, 0)
        elif command["type"] == "pause":
            self._paused = command["on"]
            self._pressed.clear()
        elif command["type"] == "settings":
            del command["type"]
            self._sampling = {**self._sampling, **command}
        elif len(self._commands) == MAX_COMMANDS:
            raise ValueError(
                f"At most {MAX_COMMANDS} messages can wait for their turn; a message of "
                f"type {command['type']} arrived while all were waiting."
            )
        else:
            self._commands.append(command)

    # Commands and frames.

    async def _act(self) -> None:
        interval = 1 / self._fps
        due = 0.0
        while True:
            await self._wait_for_page(lambda: self._commands or self._is_moving())
            if self._commands:
                try:
                    await self._do(**self._commands.popleft())
                except ValueError as error:
                    await self._send_error(error)
            else:
                await asyncio.sleep(due - time.monotonic())
                # If more than a frame late, as after a pause, start a new schedule.
                late = time.monotonic() - due
                due += interval + (late if late > interval else 0)
                await self._advance(self._next_action)
            await self._report()

    def _is_moving(self) -> bool:
        is_asked = self._held_action is not None or self._pressed
        return bool(self._timeline and is_asked and not self._paused)

    def _next_action(self) -> int | None:
        if self._paused:  # The page may have paused since the frame was requested.
            return None
        try:  # The other task may empty it at any time.
            return self._pressed.pop()
        except IndexError:
            return self._held_action

    async def _wait_for_page(self, is_due=lambda: True) -> None:
        """Wait until there is something to do and the page has drawn its frames."""
        while self._unseen >= MAX_UNSEEN or not is_due():
            self._wake.clear()
            await self._wake.wait()

    async def _advance(self, choose) -> None:
        """Make and send a frame; `choose` returns its action at this player's turn."""
        await self._recall()

        def make_frame():
            begin, id, action = time.monotonic(), self._input_id, choose()
            if action is None:  # The key has been released.
                return None
            return self._timeline.advance(action, self._sampling), begin, id

        if result := await self._share.run(make_frame):
            moment, begin, id = result
            await self._send_frame(NEW, moment, self._timeline.number, begin, id)

    async def _recall(self) -> None:
        # One step at a time, so that other players get turns in between.
        while not await self._share.run(self._timeline.recall, cost=_PREVIEW_COST):
            pass

    async def _do(self, type: str, **rest) -> None:
        if self._timeline is None and not type.startswith("start"):
            raise ValueError("There is no world yet: send a prompt frame first.")
        await getattr(self, f"_do_{type}")(**rest)

    async def _do_start(self, prompt: bytes) -> None:
        simulator = self._simulator
        if len(prompt) != simulator.num_bytes:
            height, width, _ = simulator.frame_shape
            raise ValueError(
                f"A prompt frame must have {simulator.num_bytes} bytes: {height} rows of "
                f"{width} pixels of 3 colors; received {len(prompt)} bytes."
            )
        await self._start(prompt)

    async def _do_start_prompt(self) -> None:
        if not self._has_prompt:
            raise ValueError("This world has no prompt of its own: send a frame.")
        await self._start(None)

    async def _start(self, prompt: bytes | None) -> None:
        self._take_seat()
        begin = time.monotonic()
        self._timeline = await self._share.run(self._start_timeline, prompt)
        self._pressed.clear()
        await self._send_line()
        await self._send_present(begin)

    async def _do_step(self, action: int) -> None:
        await self._advance(lambda: action)

    async def _do_go_to(self, number: int) -> None:
        self._timeline.go_to(number)
        await self._send_present(time.monotonic())

    async def _do_branch(self, id: int) -> None:
        self._timeline.switch(id)
        await self._send_line()
        await self._send_present(time.monotonic())

    async def _do_calibrate(self) -> None:
        """Send a preview of each action, held for some frames."""
        await self._recall()
        simulator, now = self._simulator, self._timeline.state
        for action in range(simulator.num_actions):
            state = now
            for place in range(PREVIEW_FRAMES):
                await self._wait_for_page()
                begin = time.monotonic()
                arguments = state, action, self._sampling
                state, frame = await self._share.run(
                    simulator.step, *arguments, cost=_PREVIEW_COST
                )
                moment = Moment(action, self._sampling, frame, None)
                await self._send_frame(PREVIEW, moment, place, begin)

    async def _do_record(self, on: bool) -> None:
        self._is_recording = on
        if on:
            self.recording = [self._timeline.present.frame]

    # Messages to the page.

    async def _send_frame(
        self,
        kind: int,
        moment: Moment,
        number: int,
        begin: float,
        id: int | None = None,
    ) -> None:
        self._unseen += 1
        if self._is_recording and kind != PREVIEW:
            self.recording.append(moment.frame)
            most = min(
                RECORDED_SECONDS * self._fps,
                MAX_RECORDED_BYTES // len(moment.frame),
            )
            self._is_recording = len(self.recording) < most
        milliseconds = 1000 * (time.monotonic() - begin)
        id = self._input_id if id is None else id
        message = pack_frame(
            kind, moment.action, milliseconds, number, id, moment.frame
        )
        await self._send(self._socket.send_bytes, message)

    async def _send_present(self, begin: float) -> None:
        timeline = self._timeline
        await self._send_frame(AGAIN, timeline.present, timeline.number, begin)

    async def _send_line(self) -> None:
        """Send all actions of the present line."""
        line = self._timeline.line
        actions = [moment.action for moment in line.moments]
        await self._send_json({"type": "line", "first": line.first, "actions": actions})

    async def _report(self) -> None:
        """Send branches and recording state if they have changed."""
        branches = self._timeline.branches if self._timeline else []
        report = {
            "type": "report",
            "first": self._timeline.line.first if self._timeline else 0,
            "branches": [{"id": line.id, "last": line.last} for line in branches],
            "recording": self._is_recording,
            "recorded": bool(self.recording),
        }
        if report != self._reported:
            self._reported = report
            await self._send_json(report)

    async def _send_error(self, error: ValueError) -> None:
        await self._send_json({"type": "error", "message": str(error)})

    async def _send_json(self, message: dict) -> None:
        await self._send(self._socket.send_text, json.dumps(message))

    async def _send(self, send: Callable, message: bytes | str) -> None:
        async with self._sending:
            if self._socket.application_state is WebSocketState.DISCONNECTED:
                raise WebSocketDisconnect  # The other task has noticed already.
            await send(message)
