"""The rows of other libraries' samplers."""

from phasewise.recipes.sampler_benchmark.hyperopt_sampler import (
    HYPEROPT_STARTUP,
    build_hyperopt,
    require_hyperopt,
)
from phasewise.recipes.sampler_benchmark.openbox_sampler import (
    OPENBOX_STARTUP,
    build_openbox,
    require_openbox,
)
from phasewise.samplers import GP_REDRAWS, SamplerKind

SAMPLERS: dict[str, SamplerKind] = {
    "hyperopt": SamplerKind(
        "HyperOpt's tree-structured Parzen estimator",
        ("bergstra2011algorithms",),
        lambda seed, _: build_hyperopt(seed),
        lambda _: HYPEROPT_STARTUP,
        searches_fronts=False,
        require=require_hyperopt,
    ),
    "openbox": SamplerKind(
        "OpenBox's Gaussian process",
        (),
        lambda seed, _: build_openbox(seed),
        lambda _: OPENBOX_STARTUP,
        pruned_teach=False,
        searches_fronts=False,
        redraws=GP_REDRAWS,
        require=require_openbox,
    ),
}
