"""From the theory's numbers to what a client reads."""

from math import isnan

from service.distributions.answering import head
from service.distributions.tail import responses
from service.distributions.tail.schemas import (
    AssociativeMemory,
    ItemMemory,
    RecursiveTraining,
    TailRequest,
    Training,
)
from service.distributions.validity import Reasons, validity
from service.theory.distributions.accuracy import Accuracy, Caution, approximate, exact
from service.theory.distributions.tail.generations import FEW
from service.theory.distributions.tail.memory import LEAST_VISITS
from service.theory.distributions.tail.prediction import Generation, Plateau, TailPrediction
from service.theory.model import Array

KIND = "tail"
ASSUMPTIONS = (
    (
        "nothing is inferred",
        "The learner is right on what it has seen once and wrong on all else; one that generalises does better.",
    ),
    (
        "independent samples",
        "Samples are drawn independently; repeated or correlated ones cover less of the tail.",
    ),
)


def answer(
    request: TailRequest,
    prediction: TailPrediction,
    curve: Array,
    generations: tuple[Generation, ...],
    *,
    floor: float,
    approximation: float,
) -> responses.TailPrediction:
    """Infinities become null, with the reason.

    ``floor`` is added to every error of this learner, at most 1 in all. ``approximation``: the relative error of what
    is exact but for a recursion's founders or a memory's ranks.
    """
    cautions = _cautions(request, prediction)
    if any(isnan(one.founders) for one in generations):
        cautions += [unknown(request.training, quantity) for quantity in ("test_error", "founders")]
    reasons = Reasons(cautions)

    def error(value: float, quantity: str) -> float | None:
        return reasons.value(value if isnan(value) else min(value + floor, 1.0), quantity)

    if prediction.plateau is None:
        reasons.absent(
            "plateau", "Every item is learnt in the end: no cut, no memory and no generations bound that."
        )

    laws = zip(curve, prediction.curve_errors, prediction.curve_laws, strict=True)
    points = [
        responses.TailPoint(
            samples=int(T), test_error=error(e, "test_error"), closed_law=error(law, "closed_law")
        )
        for T, e, law in laws
    ]
    return responses.TailPrediction(
        **head(KIND, request),
        test_error=error(prediction.test_error, "test_error"),
        clean_error=reasons.value(prediction.clean_error, "clean_error"),
        closed_law=error(prediction.law, "closed_law"),
        effective_samples=reasons.value(prediction.effective_samples, "effective_samples"),
        decay=reasons.value(prediction.decay, "decay"),
        local_decay=reasons.value(prediction.local_decay, "local_decay"),
        memory_floor=floor,
        regime=prediction.regime,
        plateau=None if prediction.plateau is None else _plateau(prediction.plateau, reasons),
        curve=points,
        generations=[
            responses.TailGeneration(
                generation=one.generation,
                founders=reasons.value(one.founders, "founders"),
                test_error=error(one.test_error, "test_error"),
            )
            for one in generations
        ],
        validity=validity(_accuracies(request, prediction, approximation), reasons, ASSUMPTIONS),
    )


def _plateau(plateau: Plateau, reasons: Reasons) -> responses.TailPlateau:
    def value(number: float, name: str) -> float | None:
        return reasons.value(number, f"plateau/{name}")

    return responses.TailPlateau(
        cause=plateau.cause,
        height=value(plateau.height, "height"),
        begins=value(plateau.begins, "begins"),
        begins_law=value(plateau.begins_law, "begins_law"),
        halved_at=value(plateau.halved_at, "halved_at"),
        real_samples_to_halve=value(plateau.real_to_halve, "real_samples_to_halve"),
        real_samples_to_halve_law=value(plateau.real_to_halve_law, "real_samples_to_halve_law"),
    )


def _accuracies(request: TailRequest, prediction: TailPrediction, approximation: float) -> list[Accuracy]:
    """The exact sums, and the closed law by its distance from them at ``samples``."""
    memory = request.memory
    if isinstance(memory, AssociativeMemory):
        basis = (
            "a scaling law whose exponent is given and whose constant is taken as 1: the order of magnitude"
        )
        found = [approximate("test_error", 1.0, basis)]
    elif isinstance(memory, ItemMemory) and memory.keeps == "most_frequent":
        basis = "the items most frequent in the samples taken for the most probable; the true error is larger by that"
        found = [approximate("test_error", approximation, basis)]
    elif approximation > 0.0:
        basis = "the exact sum, but the law of the founders is taken from its first moments"
        found = [approximate("test_error", approximation, basis)]
    else:
        found = [
            exact("test_error", "sum over all items of their probability times that of never being seen")
        ]
    found += [exact(name, "the same sum") for name in ("clean_error", "effective_samples", "plateau")]
    if not isnan(prediction.law) and prediction.test_error > 0:
        off = abs(prediction.law / prediction.test_error - 1.0)
        found.append(approximate("closed_law", off, "its distance from the exact sum at `samples`"))
    step = 1e-2 if isinstance(request.training, RecursiveTraining) else 1e-6
    found.append(approximate("local_decay", step, "a central difference of the sum"))
    return found


def _cautions(request: TailRequest, prediction: TailPrediction) -> list[Caution]:
    """Why values are missing, and what follows from those that are there."""
    lawless = (
        "No closed law holds here (they do from 10 samples and 10 known items on); the exact sum is given."
    )
    found = []
    if isnan(prediction.law) or any(map(isnan, prediction.curve_laws)):
        found.append(Caution("no_closed_law", lawless, "closed_law"))
    if isnan(prediction.decay):
        found.append(Caution("no_power_law", "The error of this law is no power of the samples.", "decay"))
    if isnan(prediction.test_error) or any(map(isnan, prediction.curve_errors)):
        found.append(unknown(request.training, "test_error"))
    if isnan(prediction.local_decay):
        gone = "The error has vanished to double precision, or is not known: it has no slope."
        found.append(Caution("no_slope", gone, "local_decay"))
    effective = prediction.effective_samples
    if isnan(effective):
        found.append(Caution("not_available", "The error is not known.", "effective_samples"))
    elif effective == float("inf"):
        beyond = "More than 1e18 real samples, or no number of them, give this error."
        found.append(Caution("beyond_range", beyond, "effective_samples"))
    return found + (_plateau_cautions(prediction.plateau) if prediction.plateau else [])


def unknown(training: Training, quantity: str) -> Caution:
    """Why an error is not known."""
    if isinstance(training, RecursiveTraining):
        few = (
            f"Fewer than {FEW:.0f} real samples are behind all that the learner has seen, or sizes are near 1e18: "
            "there is no formula. Take more samples or a larger real fraction, or simulate."
        )
        return Caution("few_founders", few, quantity)
    noise = (
        f"Fewer than {LEAST_VISITS:.0f} expected samples of the last item that is kept: which are most frequent is "
        "noise there, and no formula holds. Take more samples, a smaller memory, or simulate."
    )
    return Caution("rank_noise", noise, quantity)


def _plateau_cautions(plateau: Plateau) -> list[Caution]:
    never = "No number of samples up to 1e18 does that."
    law = "There is a closed law only for infinitely many items, at least 10 of them known."
    cause = "A memory's plateau is not ended by real samples."
    found = []
    for name, number, nothing in (
        ("begins", plateau.begins, never),
        ("begins_law", plateau.begins_law, law),
        ("halved_at", plateau.halved_at, never),
        ("real_samples_to_halve", plateau.real_to_halve, cause),
        ("real_samples_to_halve_law", plateau.real_to_halve_law, cause if plateau.cause == "memory" else law),
    ):
        if isnan(number):
            found.append(Caution("not_available", nothing, f"plateau/{name}"))
        elif number == float("inf"):
            found.append(Caution("beyond_range", never, f"plateau/{name}"))
    return found
