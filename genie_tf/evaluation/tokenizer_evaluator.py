"""Scores of a tokenizer."""

from genie_tf.evaluation.quality import (
    PartEvaluator,
    compare,
    quality,
    quality_of_repeating,
    usage,
)
from genie_tf.metrics.image_quality import psnr


class TokenizerEvaluator(PartEvaluator):
    """What is measured of a `Tokenizer`."""

    def score(self, batch) -> dict:
        """Return scores of a batch, clips in front, inside a program."""
        video = batch["video"]
        outputs = self.model(video)
        made = outputs["reconstruction"]
        return {
            "tokenizer": tokenizer_quality(video, made),
            "codes": {"tokenizer": outputs["indices"]},
            "videos": {"reconstruction": made},
        }

    def summarize(self, found, group_actions) -> dict:
        """Return the scores of all clips."""
        return {"tokenizer": summarize_tokenizer(self.model, found)}


def tokenizer_quality(video, reconstruction) -> dict:
    """Return the quality of a reconstruction and of repeating frames, in a program."""
    ceiling = psnr(video, reconstruction)
    return {
        "reconstruction": quality(video, reconstruction, ceiling),
        **quality_of_repeating(video, reconstruction, ceiling),
    }


def summarize_tokenizer(model, found) -> dict:
    """Return quality and code usage of a tokenizer."""
    codes = usage(found["codes"]["tokenizer"], model.num_codes)
    return {"videos": compare(found["tokenizer"]), **codes}
