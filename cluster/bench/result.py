"""What every benchmark gives: one object with rows, figures, and the targets they are held to."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from job.host import host_facts


@dataclass(frozen=True, kw_only=True)
class Result:
    """``targets`` maps a figure's name to ">=" or "<=" and the number to reach."""

    bench: str
    rows: Sequence[Mapping[str, Any]]
    figures: Mapping[str, float]
    targets: Mapping[str, tuple[str, float]]
    notes: Sequence[str] = ()
    machine: Mapping[str, Any] = field(
        default_factory=lambda: {**host_facts().to_dict(), "system": platform.platform()}
    )

    def missed(self) -> list[str]:
        """The targets that were measured and not reached, each as a sentence."""
        return [
            f"{name} is {self.figures[name]:.3f}, to reach {sign} {bound:g}"
            for name, (sign, bound) in self.targets.items()
            if name in self.figures
            and not (self.figures[name] >= bound if sign == ">=" else self.figures[name] <= bound)
        ]
