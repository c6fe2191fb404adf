"""Numbers as report.json holds them: short, and null where there is none."""

from typing import Any, overload

import numpy as np

from job.stragglers.work import Floats


@overload
def rounded(value: float) -> float | None: ...
@overload
def rounded(value: Floats) -> list[float | None]: ...
def rounded(value: Any) -> Any:
    """``value`` to a thousandth; None for NaN and infinity. An array becomes a list."""
    if isinstance(value, np.ndarray):
        return [rounded(float(item)) for item in value]
    return round(value, 3) if np.isfinite(value) else None
