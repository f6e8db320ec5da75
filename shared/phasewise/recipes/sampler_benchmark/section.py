"""The ``sampler_benchmark`` section of a study file."""

from pydantic import Field, model_validator

from phasewise.settings import SamplerName, Section, Study

_KEY = "sampler_benchmark"


class SamplerBenchmarkSettings(Section):
    """Search algorithms side by side, on the space of each unit."""

    samplers: tuple[SamplerName, ...] = Field(
        ("random", "qmc", "tpe", "schedule", "gp", "cmaes", "nsga2"),
        min_length=2,
        description="Names as in search.sampler.",
    )
    trials: int = Field(30, ge=1, description="Budget of each search.")
    seeds: int = Field(20, ge=2, description="Searches of each sampler.")
    live: bool = Field(
        False,
        description="Train every trial. false: a forest fitted to Phase 1's trials stands in.",
    )

    @model_validator(mode="after")
    def _check_samplers(self) -> "SamplerBenchmarkSettings":
        if len(set(self.samplers)) < len(self.samplers):
            raise ValueError("samplers: one is named twice")
        return self


SECTIONS = {_KEY: SamplerBenchmarkSettings}


def benchmark_settings(study: Study) -> SamplerBenchmarkSettings:
    """Returns the section of a study."""
    section: SamplerBenchmarkSettings = getattr(study.settings, _KEY)
    return section
