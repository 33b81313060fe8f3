"""How the models of a recursion are trained: on what each was drawn, and how many samples there were."""

from dataclasses import dataclass

from service.theory.distributions.schedule import Schedule


@dataclass(frozen=True)
class Replace:
    """Model n is trained on M_n samples of model n − 1 alone; model 1 on M_1 real ones."""

    schedule: Schedule


@dataclass(frozen=True)
class FreshReal:
    """As ``Replace``, and part of every sample is real and new.

    ``real``: expected real samples of each run of the schedule, shape (runs,): exactly so many, which are whole then
    (stratified), or each sample is real with the chance real/size (``iid``). Model 1 is all real, whatever stands
    for it.
    """

    schedule: Schedule
    real: tuple[float, ...]
    iid: bool = False

    def shares(self) -> tuple[float, ...]:
        """The expected real share of each run."""
        return tuple(m / size for m, size in zip(self.real, self.schedule.sizes, strict=True))

    @property
    def stratified(self) -> bool:
        """Whether the number of real samples is fixed."""
        return not self.iid


@dataclass(frozen=True)
class Retained:
    """``real`` samples of model 1's stay: later models are trained on them and samples − real synthetic ones.

    ``first``: how many samples model 1 had, all real; None: the retained ones alone.
    """

    samples: int
    real: int
    models: int
    first: int | None = None

    @property
    def begun(self) -> int:
        """Samples of model 1."""
        return self.real if self.first is None else self.first


@dataclass(frozen=True)
class Accumulate:
    """Every batch stays: model n is trained on the M_1 real samples and all synthetic batches M_2 … M_n so far."""

    schedule: Schedule


Training = Replace | FreshReal | Retained | Accumulate


def models_of(training: Training) -> int:
    """How many fits there are: one more than synthetic generations."""
    return training.models if isinstance(training, Retained) else training.schedule.fits
