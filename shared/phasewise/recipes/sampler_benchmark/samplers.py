"""The rows of other libraries' samplers."""

from optuna.trial import TrialState

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
from phasewise.settings import SamplerName
from phasewise.tuning.samplers import GP_REDRAWS, SamplerKind

SAMPLERS: dict[SamplerName, SamplerKind] = {
    "hyperopt": SamplerKind(
        lambda seed, _: build_hyperopt(seed),
        lambda _: HYPEROPT_STARTUP,
        require=require_hyperopt,
    ),
    "openbox": SamplerKind(
        lambda seed, _: build_openbox(seed),
        lambda _: OPENBOX_STARTUP,
        (TrialState.COMPLETE,),
        GP_REDRAWS,
        require_openbox,
    ),
}
