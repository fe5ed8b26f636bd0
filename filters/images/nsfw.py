"""Images that a classifier calls unsafe for work."""

from typing import ClassVar

from filters.images import nudenet_model
from filters.images.image_classifier import Classifier, ImageClassifierFilter


class Nsfw(ImageClassifierFilter):
    """How safe for work a classifier finds an image.

    **Finds** what the model given was trained to find: nudity, pornography, gore.

    **Scores** `1 - p`, where p is the probability of its unsafe labels: together where they exclude each other, of the
    likeliest where the model says that they are independent (`problem_type`). `label` is the likeliest of them. No score where
    there is no image or it cannot be decoded; `reason` then says why. Scores are rounded to four decimals.

    **Defaults.** The model is required: "nudenet" (extra `nsfw`), whose weights are in its package, so that nothing is
    downloaded and it runs on the processor; or any `transformers` image classifier saved as safetensors, in a directory or on the
    Hub at a pinned commit, such as `Falconsai/nsfw_image_detection`. NudeNet finds naked parts of bodies, no gore and nothing that
    is drawn. Unsafe are its exposed genitals, buttocks, anus and female breasts, and of others all labels but "normal", "safe",
    "sfw", "neutral", "drawings", "drawing", "none", unless `labels` names them. LAION calls an image unsafe from 0.5 on, a score
    below 0.5 here.

    **Example.** A photo of a beach scores about 0.99 with most models.
    """

    name: ClassVar[str] = "nsfw"
    version: ClassVar[int] = 2
    harmless: ClassVar[frozenset[str]] = frozenset(
        {"normal", "safe", "sfw", "neutral", "drawings", "drawing", "none", "not_nsfw", "non-nsfw"}
        | {label.lower() for label in nudenet_model.LABELS if label not in nudenet_model.UNSAFE}
    )

    def models(self) -> dict[str, str]:
        return {"model": nudenet_model.identity(self.name)} if self._is_nudenet() else super().models()

    def _classifier(self) -> Classifier:
        return nudenet_model.load(self.name) if self._is_nudenet() else super()._classifier()

    def _is_nudenet(self) -> bool:
        return self.model == nudenet_model.NUDENET
