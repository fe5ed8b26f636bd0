"""How well a score tells right rows from wrong ones, whatever the threshold. Needs scipy, imported when called."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from filters.calibration.binomial import lower_bound


def auroc(scores: NDArray[np.float64], right: NDArray[np.bool_], confidence: float) -> tuple[float, float, float]:
    """The area under the ROC curve with its confidence interval: P(a right row scores above a wrong one), ties half.

    The variance is DeLong's (DeLong et al., Biometrics 44, 1988) by the midranks of Sun & Xu (IEEE SPL 21, 2014); the
    interval is symmetric in the logit, which keeps it within [0, 1] and its coverage near the ends (Pepe 2003, §5.2).
    Where no pair is out of order the variance is 0 and says nothing: the bound is then that of as many successes in a
    row as there are rows of the rarer class. Raises ValueError unless both classes are there.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    high, low = scores[right], scores[~right]
    if not len(high) or not len(low):
        raise ValueError("an AUROC needs right and wrong rows")
    ranks = rankdata(np.concatenate([high, low]))
    above = (ranks[: len(high)] - rankdata(high)) / len(low)  # per right row: share of the wrong ones below it
    below = 1 - (ranks[len(high) :] - rankdata(low)) / len(high)  # per wrong row: share of the right ones above it
    area = float(above.mean())
    variance = _variance(above) / len(high) + _variance(below) / len(low)
    if variance == 0 or not 0 < area < 1:
        bound = float(lower_bound(min(len(high), len(low)), min(len(high), len(low)), (1 + confidence) / 2))
        return area, (0.0 if area < 1 else bound), (1.0 if area > 0 else 1 - bound)
    logit, spread = math.log(area / (1 - area)), math.sqrt(variance) / (area * (1 - area))
    reach = float(ndtri((1 + confidence) / 2)) * spread
    return area, _share(logit - reach), _share(logit + reach)


def _variance(values: NDArray[np.float64]) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.25  # of one row: the most a share can vary


def _share(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
