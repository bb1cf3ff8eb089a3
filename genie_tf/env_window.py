"""Window of an environment with `render_mode="human"`."""

import gymnasium

_WINDOW_SIDE = 512  # Largest side of the window in pixels.


class Window:
    """A window with the enlarged frames of an environment.

    Raises:
        gymnasium.error.DependencyNotInstalled: if pygame is not installed.
    """

    def __init__(self, env: gymnasium.Env):
        try:
            import pygame
        except ImportError as error:
            raise gymnasium.error.DependencyNotInstalled(
                'render_mode="human" needs pygame: pip install '
                '"gymnasium[classic-control]".'
            ) from error
        height, width, _ = env.observation_space.shape
        scale = max(1, _WINDOW_SIDE // max(height, width))
        self._pygame, self._fps = pygame, env.metadata["render_fps"]
        pygame.display.init()
        pygame.display.set_caption("genie_tf")
        self._screen = pygame.display.set_mode((scale * width, scale * height))
        self._clock = pygame.time.Clock()

    def __deepcopy__(self, memo):
        return self  # Copies of an environment share its window.

    def show(self, frame):
        """Show a frame, uint8 (height, width, 3), and wait to keep the frame rate."""
        image = self._pygame.surfarray.make_surface(frame.transpose(1, 0, 2))
        enlarged = self._pygame.transform.scale(image, self._screen.get_size())
        self._screen.blit(enlarged, (0, 0))
        self._pygame.event.pump()
        self._pygame.display.flip()
        self._clock.tick(self._fps)

    def close(self):
        self._pygame.display.quit()
