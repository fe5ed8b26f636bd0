"""Images in which a classifier sees a watermark."""

from typing import ClassVar

from filters.images.image_classifier import ImageClassifierFilter


class Watermark(ImageClassifierFilter):
    """How free of watermarks a classifier finds an image.

    **Finds** what the model given was trained to find: logos and lettering laid over an image, as stock agencies do.

    **Scores** `1 - p`, where p is the probability of its watermark labels. `label` is the likeliest of them. No score where
    there is no image or it cannot be decoded; `reason` then says why. Scores are rounded to four decimals.

    **Defaults.** The model is required: any `transformers` image classifier saved as safetensors, in a directory or on the Hub
    at a pinned commit. Watermarked are all labels but "clean", "clear", "no_watermark", "no-watermark", "none", unless
    `labels` names them. LAION's aesthetic subset and data-juicer keep images up to a probability of 0.8, a score from 0.2 on.

    **Example.** A stock photo with the agency's name across it scores about 0.05 with most models.
    """

    name: ClassVar[str] = "watermark"
    version: ClassVar[int] = 2
    harmless: ClassVar[frozenset[str]] = frozenset(
        {"clean", "clear", "no_watermark", "no-watermark", "no watermark", "non-watermark", "none", "normal"}
    )
