"""Options of a transformer with which it is the one of another implementation."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from genie_tf.layers.arguments import (
    check_choice,
    check_flag,
    check_number,
    check_whole,
)

_CHOICES = {
    "space_position": ("learned", "sinusoidal", "sinusoidal_input", "none"),
    "time_position": ("rotary", "sinusoidal", "sinusoidal_input", "alibi"),
    "feed_forward": ("gelu", "single", "geglu"),
    "order": ("stf", "sftf", "tfsf"),
    "bias": ("output", "all", "none"),
}


@dataclass(frozen=True)
class TransformerOptions:
    """Options of an `STTransformer` beyond its sizes. The defaults are those of Genie TF.

    The sources are Jafar (Willi et al. 2024), Jasmine (Mahajan et al. 2025) and
    GenieRedux (Kazemi et al. 2024).

    Args:
        space_position: position of a patch: "learned", a vector added to the input;
            "sinusoidal", fixed waves over the index of the patch, added to the input of
            each spatial attention (Jafar); "sinusoidal_input", the same, added to the
            input of the transformer (Jasmine); "none".
        time_position: position of a frame: "rotary"; "sinusoidal" or "sinusoidal_input",
            as in space (Jafar, Jasmine); "alibi", a bias of attention that falls with
            the age of a frame, at a different rate in each head (GenieRedux; Press et
            al. 2022).
        peg: add a depthwise convolution over the patches nearby, of this frame and the two
            before it, ahead of each attention (GenieRedux; position encoding generator,
            Chu et al. 2023).
        space_bias_dim: width of a network that maps the offset of two patches to a bias
            of their spatial attention (GenieRedux; Liu et al. 2022); 0 for no bias.
        grid: (rows, columns) of the patches of a frame, which `peg` and `space_bias_dim`
            need.
        feed_forward: "gelu", two matrices; "single", one matrix and then GELU (Jafar);
            "geglu", two matrices with gated GELU and no bias (GenieRedux; Shazeer 2020).
        order: "stf", attention over space, over time, then feed-forward (Genie);
            "sftf" or "tfsf", a feed-forward after each attention (GenieRedux).
        bias: projections of attention with a bias: "output" only, "all" (Jafar) or "none"
            (GenieRedux).
        norm_keys: normalize the input of keys and values, not only that of queries. False
            in GenieRedux.
        norm_epsilon: the small number in each layer norm.
        entry: start with layer norm, a dense layer and layer norm, for an input of any
            width (Jafar).
        last_norm: end with a layer norm. False in Jafar.
    """

    space_position: str = "learned"
    time_position: str = "rotary"
    peg: bool = False
    space_bias_dim: int = 0
    grid: tuple[int, int] | None = None
    feed_forward: str = "gelu"
    order: str = "stf"
    bias: str = "output"
    norm_keys: bool = True
    norm_epsilon: float = 1e-3
    entry: bool = False
    last_norm: bool = True

    def __post_init__(self):
        for name, choices in _CHOICES.items():
            check_choice(choices, **{name: getattr(self, name)})
        check_flag(
            peg=self.peg,
            norm_keys=self.norm_keys,
            entry=self.entry,
            last_norm=self.last_norm,
        )
        check_whole(space_bias_dim=self.space_bias_dim, least=0)
        check_number(norm_epsilon=self.norm_epsilon)
        if self.grid is None:
            if self.peg or self.space_bias_dim:
                raise ValueError(
                    "`peg` and `space_bias_dim` need `grid`, the rows and columns of the "
                    "patches of a frame."
                )
            return
        if not isinstance(self.grid, (tuple, list)) or len(self.grid) != 2:
            raise ValueError(f"`grid` must be (rows, columns); received {self.grid!r}.")
        check_whole(rows=self.grid[0], columns=self.grid[1])
        object.__setattr__(self, "grid", tuple(self.grid))

    def changed(self) -> dict:
        """Return the options that are not the default, for a config."""
        defaults = asdict(TransformerOptions())
        return {
            name: list(value) if name == "grid" else value
            for name, value in asdict(self).items()
            if value != defaults[name]
        }


def transformer_options(given: Mapping | None) -> TransformerOptions:
    """Return options from a config.

    Raises:
        ValueError: if an option is unknown or its value is not allowed.
    """
    given = dict(given or {})
    known = [field.name for field in fields(TransformerOptions)]
    unknown = sorted(map(repr, given.keys() - set(known)))
    if unknown:
        raise ValueError(
            f"A transformer has no options {', '.join(unknown)}; it has "
            f"{', '.join(known)}."
        )
    return TransformerOptions(**given)
