"""Every kind of simulation, by name; a new kind is an entry here (docs/architecture.md says how)."""

from typing import Any, Final

from service.distributions.estimator.simulation import ESTIMATOR
from service.distributions.gaussian.simulation import GAUSSIAN
from service.distributions.kde.simulation import KDE
from service.distributions.mixture.simulation import MIXTURE
from service.distributions.ngram.simulation import NGRAM
from service.distributions.tail.simulation import TAIL
from service.distributions.vocabulary.simulation import VOCABULARY
from service.simulations.kinds import Kind
from service.simulations.regression import REGRESSION

KINDS: Final[dict[str, Kind[Any, Any]]] = {
    kind.name: kind for kind in (REGRESSION, ESTIMATOR, GAUSSIAN, KDE, MIXTURE, TAIL, VOCABULARY, NGRAM)
}
