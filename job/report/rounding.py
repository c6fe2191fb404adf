"""Numbers as report.json holds them: short, and null where there is none."""

from typing import Any, overload

import numpy as np

from job.stragglers.work import Floats


@overload
def rounded(value: float, *, digits: int = 3) -> float | None: ...
@overload
def rounded(value: Floats, *, digits: int = 3) -> list[float | None]: ...
def rounded(value: Any, *, digits: int = 3) -> Any:
    """``value`` to ``digits`` decimals; None for NaN and infinity. An array becomes a list."""
    if isinstance(value, np.ndarray):
        return [rounded(float(item), digits=digits) for item in value]
    return round(value, digits) if np.isfinite(value) else None
