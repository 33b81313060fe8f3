"""The questions about numbers: how much synthetic data, how little real data, how many generations."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from service.predictions import schemas
from service.recommendations import responses, variations
from service.recommendations.evaluation import Evaluator, OutOfTime
from service.recommendations.searches import MOST, Question, answered, blank
from service.theory.integer_ranges import Range
from service.theory.limits import limits
from service.theory.model import OPTIMAL, Population, Stage, TrainingMix
from service.theory.prediction import predict

STAGES = 8  # whose real samples are varied
_FAR = 200  # generations that are looked at one by one, or nearly so


@dataclass(frozen=True)
class Case:
    """A request, compiled: ``mix`` with the earlier penalties resolved; ``compile``: for its variations."""

    given: schemas.TrainingMix
    population: Population
    mix: TrainingMix
    compile: Callable[[schemas.TrainingMix], TrainingMix]
    error: Evaluator
    bound: float

    def penalty_of(self, mix: TrainingMix) -> float:
        """The best penalty of a mix's last stage."""
        return predict(self.population, mix).regularization.recommended.penalty


def _nothing(_: int) -> float:
    """No value of what cannot be varied meets any bound."""
    return inf


@dataclass(frozen=True)
class Searched:
    """An answer, the present value of what was varied, and where the bound is met (empty where not known)."""

    answer: responses.Search
    present: int
    ranges: tuple[Range, ...]
    error: Callable[[int], float]


def _searched(
    kind: type[responses.Search], question: Question, case: Case, present: int, **more: Any
) -> Searched:
    fields, found = answered(question, case.error, case.bound)
    if found is None:
        return Searched(kind(**fields, **more), present, (), _nothing)
    return Searched(kind(**fields, **more), present, found.found, found.error)


def _critical(case: Case, stage: Stage, varied: list[int]) -> tuple[int, ...]:
    """Numbers of samples of the ``varied`` sources that put a stage at its interpolation threshold."""
    others = sum(s.samples for i, s in enumerate(stage.sources) if i not in varied and s.weight > 0)
    peaks = [case.population.rank] if stage.width is None else [case.population.rank, stage.width]
    return tuple(int(peak - others) for peak in peaks if 0 <= peak - others < MOST)


def synthetic_samples(case: Case) -> Searched:
    """The largest number of synthetic samples of the last stage, its real ones as given."""
    last = case.mix.stages[-1]
    varied = variations.synthetic(last)
    if not varied or case.mix.keeps_data:
        why = "Data that are kept cannot be varied in the last fit alone." if varied else _NO_SYNTHETIC
        return Searched(responses.Search(**blank("not_applicable", why)), 0, (), _nothing)

    def mix(count: int) -> TrainingMix:
        return variations.with_synthetic(case.mix, count)

    question = Question("synthetic samples in the last stage", mix, 0, MOST, _critical(case, last, varied))
    return _searched(responses.Search, question, case, variations.samples_of(last, varied))


_NO_SYNTHETIC = "The last stage has no synthetic source."


def synthetic_share(case: Case) -> Searched:
    """The largest share of synthetic samples in the last stage; in every generation for replace_with_real."""
    last, given = case.mix.stages[-1], case.given
    varied = variations.synthetic(last)
    total = variations.samples_of(last, range(len(last.sources)))
    share = {"total": None, "share": None}
    if isinstance(given, schemas.ReplaceWithRealMix):
        total = given.samples
    if case.mix.keeps_data or not varied or total == 0:
        why = (
            "Data that are kept cannot be replaced in the last fit alone." if case.mix.keeps_data
            else _NO_SYNTHETIC if not varied else "The last stage has no samples to share."
        )  # fmt: skip
        return Searched(responses.ShareSearch(**blank("not_applicable", why), **share), 0, (), _nothing)

    def mix(count: int) -> TrainingMix:
        if isinstance(given, schemas.ReplaceWithRealMix):
            return case.compile(variations.with_real_fraction(given, count))
        return variations.with_share(case.mix, case.population, count)

    where = "each generation's" if isinstance(given, schemas.ReplaceWithRealMix) else "the last stage's"
    question = Question(
        f"synthetic samples out of {where} {total:,}", mix, 0, total, open_end=False, limit=", no real ones"
    )
    found = _searched(
        responses.ShareSearch, question, case, variations.samples_of(last, varied), total=total, share=None
    )
    value = found.answer.value
    if value is None:
        return found
    return replace(found, answer=found.answer.model_copy(update={"share": value / total}))


def real_samples(case: Case) -> list[Searched]:
    """The fewest real samples of every stage that has any (the first and last few), all else as given."""
    with_real = [i for i, stage in enumerate(case.mix.stages) if variations.real(stage)]
    if case.mix.keeps_data:
        with_real = with_real[:1]
    if len(with_real) > STAGES:
        with_real = [*with_real[: STAGES // 2], *with_real[-STAGES // 2 :]]
    return [_real_samples_of(case, index) for index in with_real]


def _real_samples_of(case: Case, index: int) -> Searched:
    stage = case.mix.stages[index]
    varied = variations.real(stage)

    def mix(count: int) -> TrainingMix:
        if isinstance(case.given, schemas.AccumulateMix):
            return case.compile(variations.with_first_rows(case.given, count))
        return variations.with_real(case.mix, index, count)

    question = Question(
        f'real samples in stage "{stage.name}"', mix, 0, MOST, _critical(case, stage, varied), fewest=True
    )
    present = variations.samples_of(stage, varied)
    return _searched(responses.StageSearch, question, case, present, stage=stage.name)


def generations(case: Case) -> Searched:
    """The largest number of generations."""
    most = variations.most_generations(case.given)
    if most is None:
        why = f'A mix of kind "{case.given.kind}" has no number of generations to vary.'
        return Searched(responses.Search(**blank("not_applicable", why)), 0, (), _nothing)
    assert isinstance(case.given, (schemas.RecursiveMix, schemas.AccumulateMix, schemas.ReplaceWithRealMix))
    present, given = case.given.generations, case.given

    def mix(count: int) -> TrainingMix:
        return case.compile(variations.with_generations(given, count))

    high, open_end = min(most, max(_FAR, present)), False
    try:
        if high < most and case.error(mix(high)) <= case.bound:
            open_end = _bounded_within(case, mix(high))
            while not open_end and high < most and case.error(mix(high)) <= case.bound:
                high = min(2 * high, most)  # so far only doublings are looked at
    except OutOfTime:
        pass  # the search below says so
    lists = high < schemas.MAX_STAGES - 1
    limit = (
        "" if high < most else ", as far as the mix's lists go" if lists else ", the most that is computed"
    )
    question = Question("generations", mix, 0, high, open_end=open_end, limit=limit)
    return _searched(responses.Search, question, case, present)


def _bounded_within(case: Case, far: TrainingMix) -> bool:
    """Whether infinitely many generations stay within the bound; ``far``: the mix after many of them."""
    if far.stages[-1].penalty == OPTIMAL and case.population.signal <= case.bound:
        return True  # the best penalty is never worse than predicting zero
    resolved = predict(case.population, far).mix
    limit = limits(case.population, resolved, order=case.error.order).generations_limit
    return limit is not None and limit <= case.bound
