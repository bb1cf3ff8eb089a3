"""Keras layers: patches, axial attention, ST blocks, vector quantization."""

from genie_tf.layers.arguments import (
    check_choice,
    check_flag,
    check_frame_shape,
    check_number,
    check_whole,
)
from genie_tf.layers.axial_attention import (
    CausalSpaceTimeAttention,
    CausalTemporalAttention,
    SpatialAttention,
)
from genie_tf.layers.feed_forward import FeedForward, NormDenseNorm
from genie_tf.layers.finite_scalar_quantizer import FiniteScalarQuantizer
from genie_tf.layers.first_frame import OwnFirstFrame, embedding_for
from genie_tf.layers.patches import (
    patch_grid,
    patchify,
    patchify_frames,
    unpatchify,
)
from genie_tf.layers.position_embedding import (
    PositionEncodingGenerator,
    SpatialBias,
    SpatialPositionEmbedding,
    alibi_slopes,
    rotary_embedding,
    sinusoidal_embedding,
)
from genie_tf.layers.quantizer import make_quantizer, quantizer_class
from genie_tf.layers.st_transformer import STBlock, STTransformer
from genie_tf.layers.transformer_options import (
    TransformerOptions,
    transformer_options,
)
from genie_tf.layers.vector_quantizer import VectorQuantizer, code_counts
