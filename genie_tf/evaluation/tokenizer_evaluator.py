"""Scores of a tokenizer."""

from genie_tf.evaluation.quality import (
    PartEvaluator,
    compare,
    quality,
    repeat_quality,
    usage,
)


class TokenizerEvaluator(PartEvaluator):
    """Evaluator of a `Tokenizer`."""

    def score(self, batch) -> dict:
        """Return scores of each clip of a batch; it is compiled."""
        outputs = self.model(batch["video"])
        reconstruction = outputs["reconstruction"]
        return {
            "tokenizer": {
                "reconstruction": quality(batch["video"], reconstruction),
                "repeat": repeat_quality(batch["video"]),
            },
            "codes": {"tokenizer": self.model.codes_in(outputs["indices"])},
            "videos": {"reconstruction": reconstruction},
        }

    def summarize(self, results, group_actions) -> dict:
        """Return the scores over all clips."""
        return {"tokenizer": summarize_tokenizer(self.model, results)}


def summarize_tokenizer(model, results) -> dict:
    """Return quality and code usage of a tokenizer."""
    codes = usage(results["codes"]["tokenizer"], model.num_codes)
    return {"videos": compare(results["tokenizer"]), **codes}
