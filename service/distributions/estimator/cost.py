"""What an estimate from so many samples costs in error variance, by family and by how estimates are combined."""

from service.distributions.estimator.schemas import (
    EstimatorRequest,
    LeastSquares,
    Pool,
    WeightedFresh,
    WeightedRetained,
)
from service.theory.distributions.estimator.law import Cost, per_sample


def cost_of(request: EstimatorRequest) -> Cost:
    """Error variance per sample number: 1/n, or 1/(n − d − 1) for least squares, infinite up to d + 1."""
    if not isinstance(request.family, LeastSquares):
        return per_sample
    taken = request.family.dimension + 1
    return lambda samples: per_sample(samples - taken)


def combined_cost(request: EstimatorRequest) -> Cost:
    """Pooled least squares is one fit, whose first order is all there is; separate fits have their own costs."""
    workflow = request.workflow
    pooled = isinstance(workflow, WeightedFresh | WeightedRetained) and workflow.weight == "pooled"
    return per_sample if pooled else cost_of(request)


def refits_jointly(request: EstimatorRequest) -> bool:
    """Whether one fit sees data of several origins at once, rather than their estimates being combined."""
    workflow = request.workflow
    return isinstance(workflow, Pool) or (
        isinstance(workflow, WeightedFresh | WeightedRetained) and workflow.weight == "pooled"
    )
