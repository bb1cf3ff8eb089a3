"""Scores of a tokenizer."""

from genie_tf.evaluation.quality import (
    PartEvaluator,
    compare,
    quality,
    quality_of_repeating,
    usage,
)


class TokenizerEvaluator(PartEvaluator):
    """What is measured of a `Tokenizer`."""

    def score(self, batch) -> dict:
        """Return scores of a batch, clips in front, inside a program."""
        outputs = self.model(batch["video"])
        made = outputs["reconstruction"]
        return {
            "tokenizer": {
                "reconstruction": quality(batch["video"], made),
                "repeat": quality_of_repeating(batch["video"]),
            },
            "codes": {"tokenizer": outputs["indices"]},
            "videos": {"reconstruction": made},
        }

    def summarize(self, found, group_actions) -> dict:
        """Return the scores of all clips."""
        return {"tokenizer": summarize_tokenizer(self.model, found)}


def summarize_tokenizer(model, found) -> dict:
    """Return quality and code usage of a tokenizer."""
    codes = usage(found["codes"]["tokenizer"], model.num_codes)
    return {"videos": compare(found["tokenizer"]), **codes}
