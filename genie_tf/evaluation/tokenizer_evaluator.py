"""Scores of a tokenizer."""

from collections.abc import Mapping

from genie_tf.evaluation.quality import (
    PartEvaluator,
    compare,
    quality,
    repeat_quality,
    usage,
)
from genie_tf.metrics.image_quality import black_out, psnr


class TokenizerEvaluator(PartEvaluator):
    """Evaluator of a `Tokenizer`."""

    def score(self, batch) -> dict:
        """Return scores of each clip of a batch; it is compiled."""
        video = batch["video"]
        outputs = self.model(video)
        reconstruction = outputs["reconstruction"]
        region = self.protocol.region
        return {
            "tokenizer": tokenizer_quality(
                self.model, black_out(video, region), black_out(reconstruction, region)
            ),
            "codes": {"tokenizer": self.model.codes_in(outputs["indices"])},
            "videos": {"reconstruction": reconstruction},
        }

    def compared(self, videos: Mapping) -> dict:
        """Return true and reconstructed frames, for Fréchet distances."""
        given = int(self.model.needs_first_frame)
        names = ("truth", "reconstruction")
        return {name: videos[name][:, given:] for name in names}

    def summarize(self, results, group_actions) -> dict:
        """Return the scores over all clips."""
        return {"tokenizer": summarize_tokenizer(self.model, results)}


def tokenizer_quality(tokenizer, video, reconstruction) -> dict:
    """Return the quality of a reconstruction and of repeating frames; can be compiled.

    A first frame that is given does not count.
    """
    ceiling = psnr(video, reconstruction)
    given = int(tokenizer.needs_first_frame)
    return {
        "reconstruction": quality(
            video[:, given:], reconstruction[:, given:], ceiling[:, given:]
        ),
        **repeat_quality(video, reconstruction, ceiling),
    }


def summarize_tokenizer(model, results) -> dict:
    """Return quality and code usage of a tokenizer."""
    codes = usage(results["codes"]["tokenizer"], model.num_codes)
    return {"videos": compare(results["tokenizer"]), **codes}
