"""The certificate of a reference: how often it raises an alarm, without drift and with it."""

from dataclasses import dataclass

from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class AlarmRate:
    """Share of batches that raised an alarm, with the lower and the upper end of its 95 % Wilson interval."""

    rate: float
    low: float
    high: float

    @classmethod
    def of(cls, alarms: int, batches: int) -> "AlarmRate":
        """Return the rate of some alarms in some batches.

        Source:
            Wilson, JASA 22 (1927), as scipy.stats.binomtest computes it.
        """
        interval = stats.binomtest(alarms, batches).proportion_ci(CONFIDENCE, method="wilson")
        return cls(alarms / batches, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class FalseAlarms:
    """How often batches without drift raise an alarm.

    Attributes:
        m: Size of the batches.
        alpha: Significance level.
        n_disjoint: How many such batches the held-out samples make that have no sample in common. Where they
            are few, the interval is narrower than what is really known.
        alarms: Share of batches whose p-value is at most alpha.
    """

    m: int
    alpha: float
    n_disjoint: int
    alarms: AlarmRate


@dataclass(frozen=True)
class SmallestBlur:
    """The smallest Gaussian blur that is found nearly always.

    Attributes:
        m: Size of the batches.
        sigma: Standard deviation of the blur in pixels; None where no blur that was tried is found.
        alarms: Share of batches with this blur, or with the strongest one, that raise an alarm.
    """

    m: int
    sigma: float | None
    alarms: AlarmRate


@dataclass(frozen=True)
class Certificate:
    """The rates at which a reference raises an alarm, measured on samples that are in no other use.

    Every batch is a sample of the distribution, so the rates are right on average; but batches of one pool
    have samples in common, and the intervals are for the drawing of batches from these held-out samples.

    Attributes:
        kernel: The kernel of the test that was measured.
        n_held_out: Held-out samples that the batches were drawn from.
        n_batches: Batches of each size without drift.
        false_alarms: For each size and significance level.
        power: Share of blurred batches that counts as nearly always.
        power_alpha: The significance level at which blur counts as found.
        n_blurred_batches: Batches of each size with each blur.
        blurs: The smallest blur found, for each size; empty where the samples were features, which cannot
            be blurred.
    """

    kernel: str
    n_held_out: int
    n_batches: int
    false_alarms: tuple[FalseAlarms, ...]
    power: float
    power_alpha: float
    n_blurred_batches: int
    blurs: tuple[SmallestBlur, ...]
