"""From the population's rows to what is known about them: in a process of its own, it takes up to half a minute."""

import numpy as np

import service
from service.datasets.ingest import Ingested, sample_description
from service.datasets.limits import refuse
from service.datasets.schemas import (
    DegreesOfFreedom,
    Description,
    EffectiveDimensions,
    Exponent,
    Exponents,
    FeatureMap,
    Leverage,
    LinearMap,
    Noise,
    PolynomialMap,
    Provenance,
    RbfMap,
    ResolvedFeatureMap,
    Rows,
    Target,
    UploadOptions,
    Warning,
)
from service.errors import InvalidInput
from service.predictions.schemas import LARGEST, SMALLEST, Dataset, LevelsSpectrum, PowerTarget
from service.theory import kernels
from service.theory.empirical import EmpiricalPopulation, empirical_population
from service.theory.exponents import PowerLawFit
from service.theory.model import Array, Population


def describe(ingested: Ingested, options: UploadOptions) -> Description | InvalidInput:
    """Describe the rows, and write the truth on them over the labels; what is wrong is returned, not raised."""
    X, y = np.load(ingested.rows), np.load(ingested.labels)
    try:
        feature_map = resolve(options.feature_map, X)
        found = empirical_population(feature_map, X, y, options.noise_variance)
    except kernels.DegenerateRowsError as error:
        return refuse("feature_map", "degenerate_rows", f"{error}")
    if (problem := _out_of_range(found)) is not None:
        return problem
    np.save(ingested.labels, found.truth)
    return _description(ingested, options, feature_map, y, found)


def resolve(requested: FeatureMap, X: Array) -> kernels.FeatureMap:
    """The feature map with every parameter a number; raises ``DegenerateRowsError``."""
    match requested:
        case LinearMap():
            return kernels.Linear()
        case RbfMap(bandwidth=bandwidth):
            return kernels.rbf(X, bandwidth)
        case PolynomialMap(degree=degree, offset=offset, scale=scale):
            return kernels.polynomial(X, degree, offset, scale)


def _out_of_range(found: EmpiricalPopulation) -> InvalidInput | None:
    """A description must be a valid inline data set; only absurd units can make it none."""
    population = found.population
    if found.rank == 0 or not np.isfinite(population.eigenvalues).all():
        return refuse(
            "feature_map", "out_of_range", "the kernel is zero or infinite on these rows: rescale them"
        )
    values = np.concatenate([population.eigenvalues, population.target_power, [population.noise_variance]])
    if values.max() > LARGEST or population.eigenvalues.min() < SMALLEST:
        return refuse("file", "out_of_range", "rows or labels are in units too small or large: rescale them")
    return None


def _description(
    ingested: Ingested,
    options: UploadOptions,
    feature_map: kernels.FeatureMap,
    y: Array,
    found: EmpiricalPopulation,
) -> Description:
    population = found.population
    return Description(
        engine_version=service.__version__,
        rows=Rows(
            count=ingested.count,
            columns=ingested.columns,
            population=len(y),
            sampled=ingested.sampled,
            how=sample_description(ingested),
            hash=f"sha256:{ingested.content_hash}",
        ),
        feature_map=ResolvedFeatureMap(
            **(dict.fromkeys(("bandwidth", "degree", "offset", "scale")) | kernels.to_json(feature_map))
        ),
        target=Target(
            name=ingested.target,
            transform=options.target_transform,
            mean=float(np.mean(y)),
            mean_square=float(np.mean(y**2)),
        ),
        noise=Noise(
            mode="declared" if found.smoother is None else "estimated",
            declared=options.noise_variance,
            unreachable=found.unreachable,
            smoothing_penalty=found.smoother.penalty if found.smoother else None,
            smoothing_degrees_of_freedom=found.smoother.degrees_of_freedom if found.smoother else None,
        ),
        effective_dimensions=EffectiveDimensions(
            rank=found.rank,
            participation_ratio=found.participation_ratio,
            df1=[DegreesOfFreedom(penalty=penalty, value=value) for penalty, value in found.df1],
            leverages=_leverages(population),
        ),
        exponents=Exponents(capacity=_exponent(found.capacity), source=_exponent(found.source)),
        provenance=_provenance(options, found),
        warnings=_warnings(options, y, found),
        dataset=Dataset(
            spectrum=LevelsSpectrum(
                kind="levels",
                values=population.eigenvalues.tolist(),
                multiplicities=population.multiplicities.astype(int).tolist(),
            ),
            target=PowerTarget(kind="power", values=population.target_power.tolist()),
            noise_variance=population.noise_variance,
        ),
    )


def _leverages(population: Population) -> list[Leverage]:
    seen = population.leverages
    assert seen is not None, "it was measured on rows"
    pairs = zip(seen.degrees_of_freedom.tolist(), seen.excess.tolist(), strict=True)
    return [Leverage(degrees_of_freedom=freedom, excess_covariance=excess) for freedom, excess in pairs]


def _exponent(fit: PowerLawFit | str) -> Exponent:
    if isinstance(fit, str):
        return Exponent(
            value=None, standard_error=None, r_squared=None, first_rank=None, last_rank=None, reason=fit
        )
    return Exponent(
        value=fit.value,
        standard_error=fit.standard_error,
        r_squared=fit.r_squared,
        first_rank=fit.first_rank,
        last_rank=fit.last_rank,
        reason=None,
    )


def _provenance(options: UploadOptions, found: EmpiricalPopulation) -> list[Provenance]:
    """Where each number comes from."""
    requested = options.feature_map
    entries = [
        Provenance(pointer="/rows", origin="measured", how="Counted and hashed while reading."),
        Provenance(pointer="/target", origin="measured", how="Means over the population's labels, transformed."),
        Provenance(
            pointer="/dataset/spectrum", origin="measured",
            how="Eigenvalues of the population's kernel operator: of the kernel matrix divided by the rows.",
        ),
        Provenance(
            pointer="/effective_dimensions", origin="measured",
            how="Sums over the measured eigenvalues; leverages: over the rows.",
        ),
        Provenance(
            pointer="/noise/unreachable", origin="measured",
            how="Mean square of the labels minus their projection on the modes.",
        ),
        Provenance(
            pointer="/exponents", origin="estimated",
            how="Least-squares lines in log-log over the stated ranks; standard errors are the lines'.",
        ),
    ]  # fmt: skip
    match requested:
        case RbfMap():
            entries.append(_parameter("bandwidth", requested.bandwidth, "Median distance between two rows."))
        case PolynomialMap():
            entries.append(_parameter("degree", requested.degree, ""))
            entries.append(_parameter("offset", requested.offset, ""))
            entries.append(_parameter("scale", requested.scale, "√columns times the largest |entry|."))
        case LinearMap():
            pass
    if found.smoother is None:
        noise = Provenance(pointer="/dataset/noise_variance", origin="declared", how="As given.")
        if found.unreachable > 0:
            noise = Provenance(
                pointer="/dataset/noise_variance", origin="measured",
                how="The declared label noise plus the measured unreachable part.",
            )  # fmt: skip
        power = Provenance(
            pointer="/dataset/target", origin="measured",
            how="Squared coefficients of the recorded labels, which are the truth, in the modes.",
        )  # fmt: skip
        declared = [Provenance(pointer="/noise/declared", origin="declared", how="As given.")]
    else:
        noise = Provenance(
            pointer="/dataset/noise_variance", origin="estimated",
            how="Residual of kernel ridge at the penalty of least generalised cross-validation: "
            "‖(I − S) y‖² / tr(I − S) (Wahba 1983).",
        )  # fmt: skip
        power = Provenance(
            pointer="/dataset/target", origin="estimated",
            how="Squared coefficients of that kernel ridge fit, which is taken for the truth, in the modes.",
        )  # fmt: skip
        declared = [
            Provenance(
                pointer=f"/noise/smoothing_{name}", origin="estimated", how="Generalised cross-validation."
            )
            for name in ("penalty", "degrees_of_freedom")
        ]
    return [*entries, noise, power, *declared]


def _parameter(name: str, given: float | None, default: str) -> Provenance:
    return Provenance(
        pointer=f"/feature_map/{name}",
        origin="measured" if given is None else "declared",
        how=default if given is None else "As given, or the documented default.",
    )


def _warnings(options: UploadOptions, y: Array, found: EmpiricalPopulation) -> list[Warning]:
    warnings = []
    if found.unreachable > 0.01 * float(np.mean(y**2)):
        warnings.append(
            Warning(
                code="unreachable_target",
                message=f"{100 * found.unreachable / np.mean(y**2):.0f} % of the labels' mean square is out of "
                "reach of this feature map: it counts as noise of the labels, and test errors are measured "
                "against the best that the map can do.",
            )
        )
    if found.smoother is not None and found.smoother.at_edge:
        warnings.append(
            Warning(
                code="noise_not_identified",
                message="Generalised cross-validation chose the least or the largest penalty it searched, as it "
                "does for labels without noise or without signal: give noise_variance if you know it.",
            )
        )
    if isinstance(options.feature_map, LinearMap) and found.population.eigenvalues[0] > 1e3:
        warnings.append(
            Warning(
                code="unscaled_features",
                message=f"The largest eigenvalue is {found.population.eigenvalues[0]:.3g}: penalties act "
                "relative to it, so those of order 1 do next to nothing. Rescale the columns, or choose "
                "penalties of that size.",
            )
        )
    return warnings
