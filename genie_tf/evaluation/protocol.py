"""What an evaluation shows a model, and what it compares."""

from typing import NamedTuple


class Protocol(NamedTuple):
    """Frames and pixels of an evaluation.

    Attributes:
        prompt_frames: true frames, with the actions between them, that a world sees
            first.
        predicted_frames: frames that it then predicts, at most to the end of a clip.
        region: (top, left, height, width) of pixels that are black in all comparisons;
            None for no region.
    """

    prompt_frames: int = 1
    predicted_frames: int = 10
    region: tuple[int, int, int, int] | None = None

    def count_predicted(self, frames: int) -> int:
        """Return the number of predicted frames in clips of this many frames.

        Raises:
            ValueError: if the prompt takes all frames.
        """
        if frames <= self.prompt_frames:
            raise ValueError(
                f"Expected clips of more frames than the prompt of {self.prompt_frames}; "
                f"received clips of {frames}."
            )
        return min(self.predicted_frames, frames - self.prompt_frames)

    def check_region(self, height: int, width: int) -> None:
        """Raise a ValueError unless the region is inside frames of this size."""
        if self.region is None:
            return
        top, left, rows, columns = self.region
        inside = 0 <= top < top + rows <= height and 0 <= left < left + columns <= width
        if not inside:
            raise ValueError(
                "Expected a region TOP,LEFT,HEIGHT,WIDTH inside frames of "
                f"{height}x{width}; received {','.join(map(str, self.region))}."
            )


DEFAULT_PROTOCOL = Protocol()
