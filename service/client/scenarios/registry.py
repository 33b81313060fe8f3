"""Every scenario by name."""

from typing import Final

from service.client.scenarios.accumulation import ACCUMULATE
from service.client.scenarios.collapse_demystified import ISOTROPIC, OVER_PARAMETRISED
from service.client.scenarios.gaussian import GAUSSIAN
from service.client.scenarios.mnist import MNIST
from service.client.scenarios.power_law import POWER_LAW
from service.client.scenarios.scenario import Scenario
from service.client.scenarios.strong_collapse import QUALITY
from service.client.scenarios.tails import CUT, MIXING
from service.client.scenarios.text import EXTINCTION, NGRAMS

SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.name: scenario
    for scenario in (
        ISOTROPIC,
        POWER_LAW,
        OVER_PARAMETRISED,
        MNIST,
        QUALITY,
        ACCUMULATE,
        GAUSSIAN,
        CUT,
        MIXING,
        EXTINCTION,
        NGRAMS,
    )
}
