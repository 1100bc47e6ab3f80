"""What a user may choose, in one frozen object."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Literal

from nmap.diagnostics import Findings

__all__ = ["WHOLE_CHIP", "Calibration", "Options", "split_target"]

WHOLE_CHIP = -1
"""Stands for the core number of every core of a chip."""


def _is_core(core: Any) -> bool:
    return (
        isinstance(core, tuple) and len(core) == 2
        and all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in core)
    )


@dataclass(frozen=True, slots=True)
class Calibration:
    """What one population of the network in real numbers does on samples; see `nmap.calibrate`.

    Args:
        population: name.
        spikes: mean number in a step, all neurons together.
        busy: largest number in one step.
        excitatory, inhibitory: largest sum of positive weights, and of negative ones without their sign, that arrives at one neuron in one
            step, each times what its spike carries; biases are not in it. 0 for an input port.
    """

    population: str
    spikes: float
    busy: float
    excitatory: float = 0.0
    inhibitory: float = 0.0


@dataclass(frozen=True, slots=True)
class Options:
    """Choices of one run; the command line's options under the same names.

    Args:
        bits: weight bits; None for the target's default.
        partitioner: name of an installed partitioner.
        effort: 0 fast, 1 default, 2 thorough; a multiple of the solvers' deterministic budgets.
        seed: for every random choice.
        chips: number of chips; None for the variant's own.
        dead: (chip, core) pairs not to use; core `WHOLE_CHIP` stands for a whole chip, routers included.
        dead_links: pairs of (chip, core): the link between the two cores' routers is not used, in neither direction.
        slack: share of extra cores that may be spent on less traffic.
        approximate: features the user allows to be approximate (`reset`, `bias`, ...).
        steps: time steps to run; None for the input's length.
        strict: warnings count as errors.
        payload: smallest and largest input value the samples hold; (0, 1) means binary spikes.
        horizon: steps for which a quantization proves that no state leaves its range, where it cannot for ever; 0 where nobody said. A
            deployment sets it from the samples and `steps`, for targets that ask for it (`ChipSpec.horizon`).
        calibration: what the network does on samples, for targets that ask for it (`ChipSpec.calibrates`); empty without samples.
        slowdown: steps of the chip last that many times as long as the network's own; None: the target chooses.
        plain: quantize into a form for file formats that hold less than the chip; what that leaves out is the target's business. No
            deployment has it, so it is in no manifest.

    Raises:
        NmapError: NM004, with every choice that is none.
    """

    bits: int | None = None
    partitioner: str = "cpsat"
    effort: Literal[0, 1, 2] = 1
    seed: int = 0
    chips: int | None = None
    dead: tuple[tuple[int, int], ...] = ()
    dead_links: tuple[tuple[tuple[int, int], tuple[int, int]], ...] = ()
    slack: float = 0.05
    approximate: frozenset[str] = frozenset()
    steps: int | None = None
    strict: bool = False
    payload: tuple[int, int] = (0, 1)
    horizon: int = 0
    calibration: tuple[Calibration, ...] = ()
    slowdown: int | None = None
    plain: bool = False

    def __post_init__(self) -> None:
        wrong = Findings()

        def whole(name: str, least: int, optional: bool = True) -> None:
            value = getattr(self, name)
            if not (optional and value is None) and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                wrong.error("NM004", f"`{name}` must be a whole number of at least {least}, not {value!r}")

        whole("bits", 1)
        whole("chips", 1)
        whole("steps", 1)
        whole("slowdown", 1)
        whole("seed", 0, optional=False)
        whole("horizon", 0, optional=False)
        if self.effort not in (0, 1, 2):
            wrong.error("NM004", f"`effort` must be 0, 1 or 2, not {self.effort!r}")
        if not isinstance(self.slack, (int, float)) or not isfinite(self.slack) or self.slack < 0:
            wrong.error("NM004", f"`slack` must be a number of at least 0, not {self.slack!r}")
        if not all(_is_core((core[0], 0) if isinstance(core, tuple) and core[1:] == (WHOLE_CHIP,) else core) for core in self.dead):
            wrong.error("NM004", f"`dead` must hold pairs of a chip and a core, whole numbers of at least 0, not {self.dead!r}")
        if not all(len(link) == 2 and _is_core(link[0]) and _is_core(link[1]) for link in self.dead_links):
            wrong.error("NM004", f"`dead_links` must hold pairs of (chip, core) pairs, not {self.dead_links!r}")
        wrong.raise_errors()

    @property
    def message_bits(self) -> int:
        """Width of the input's graded spikes, sign included; 0 for binary spikes."""
        low, high = self.payload
        if low >= 0 and high <= 1:
            return 0
        return max(abs(low), abs(high)).bit_length() + (low < 0)

    def calibrated(self, population: str) -> Calibration | None:
        """Return what a population does on the samples; None where that is not known."""
        return next((found for found in self.calibration if found.population == population), None)

    def _larger_faults(self) -> dict[str, Any]:
        """Return dead chips and links; no entry where there are none, so that such a manifest stays what it was."""
        chips = sorted({chip for chip, core in self.dead if core == WHOLE_CHIP})
        links = [[*first, *second] for first, second in self.dead_links]
        return {**({"dead_chips": chips} if chips else {}), **({"dead_links": links} if links else {})}

    def to_json(self) -> dict[str, Any]:
        """Return the options as a JSON object, the same for the same choices."""
        return {
            "bits": self.bits, "partitioner": self.partitioner, "effort": self.effort, "seed": self.seed, "chips": self.chips,
            "dead": [list(pair) for pair in self.dead if pair[1] != WHOLE_CHIP], **self._larger_faults(), "slack": self.slack,
            "approximate": sorted(self.approximate), "steps": self.steps, "payload": list(self.payload),
            # Targets that prove nothing of the kind keep the manifests they had.
            **({"horizon": self.horizon} if self.horizon else {}),
            **({"calibration": [asdict(found) for found in self.calibration]} if self.calibration else {}),
            **({"slowdown": self.slowdown} if self.slowdown is not None else {}),
        }


def split_target(text: str) -> tuple[str, str | None]:
    """Split `loihi2:kapoho-point` into target and variant."""
    name, _, variant = text.partition(":")
    return name, variant or None
