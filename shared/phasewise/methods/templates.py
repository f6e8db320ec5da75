"""Adapters over one base model, made again and again: PEFT makes the first, copies follow it."""

import copy
import math
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn

from phasewise.methods.adapt import adapt_model
from phasewise.methods.copying import PickledCopies, copy_module
from phasewise.methods.fresh import initialize_fresh
from phasewise.methods.models import BaseModel, share_weights
from phasewise.settings import Hyperparameters, MethodSettings

#: The name that PEFT gives a model's first adapter.
_ADAPTER = "default"
#: Drawn weights are kept for later runs up to so many bytes per template, the latest ones.
_MOST_BYTES = 64 << 20


class _Drawn(NamedTuple):
    """What a run's model was drawn to be."""

    weights: dict[str, nn.Parameter]
    after: torch.Tensor
    """State of torch's generator after the draws."""
    size: int
    """Bytes of the weights."""


class AdapterTemplates:
    """Makes the models of runs as ``adapt_model`` does, to the bit, and faster from the second on.

    PEFT looks through a whole model more than a hundred times to insert an adapter; here it does
    so once for each set of layers. Only what a run draws or sets differs in the others: weights,
    rank, scale and dropout. What cannot be copied so is left to ``adapt_model``. The trials of a
    search share their seed, so those of one rank start with the same weights: drawn once.
    """

    def __init__(self) -> None:
        self._base: BaseModel | None = None
        self._templates: dict[Hashable, _Template | None] = {}

    def build(
        self, base: BaseModel, method: MethodSettings, chosen: Hyperparameters, auto_class: str
    ) -> Any:
        """Returns a trainable copy of a base model; arguments and errors are ``adapt_model``'s."""
        if not method.traits.low_rank:
            return adapt_model(base, method, chosen, auto_class)
        if self._base is not base:
            self._base, self._templates = base, {}
        key = (method.use_dora, method.use_rslora, chosen.target_modules, auto_class)
        if key not in self._templates:
            self._templates[key] = _make_template(base, method, chosen, auto_class)
        template = self._templates[key]
        if template is None:
            return adapt_model(base, method, chosen, auto_class)
        return template.copy(chosen)


class _Template:
    """A model with its adapter, of which copies are made.

    Args:
        model: From ``adapt_model``; loses its adapter's weights.
        fresh_modules: ``BaseModel.fresh_modules``.
    """

    def __init__(self, model: Any, fresh_modules: tuple[str, ...]) -> None:
        self._model, self._fresh = model, fresh_modules
        self._config: LoraConfig = model.peft_config[_ADAPTER]
        for layer in _find_layers(model):
            del layer.lora_A[_ADAPTER], layer.lora_B[_ADAPTER]
        for head in self._heads(model):
            del head.modules_to_save[_ADAPTER]
        self._shared = share_weights(model)
        drawn = [weight for head in self._heads(model) for weight in head.parameters()]
        for weight in (*drawn, *(weight for weight in model.parameters() if weight.requires_grad)):
            self._shared.pop(id(weight), None)  # of the second kind only DoRA's magnitudes are left
        self._most = _MOST_BYTES if model.device.type == "cpu" else 0  # a GPU draws by its own
        self._drawn: dict[Hashable, _Drawn] = {}
        self._copies: PickledCopies | None = None

    def copy(self, chosen: Hyperparameters) -> Any:
        """Returns the model of another run, drawn as ``adapt_model`` would."""
        config = copy.copy(self._config)
        config.r, config.lora_alpha = chosen.lora_rank, chosen.lora_alpha
        config.lora_dropout = chosen.lora_dropout
        key = (chosen.lora_rank, torch.get_rng_state().numpy().tobytes())
        if key in self._drawn:
            return self._load(self._drawn[key], config)
        model = self._draw(config)
        self._keep(key, model)
        return model

    def _load(self, drawn: _Drawn, config: LoraConfig) -> Any:
        """Returns a model with weights that were drawn before."""
        assert self._copies is not None
        torch.set_rng_state(drawn.after)
        weights = {
            name: nn.Parameter(weight.detach().clone(), weight.requires_grad)
            for name, weight in drawn.weights.items()
        }
        model, layers = self._copies.load({**weights, _ADAPTER: config})
        for layer in layers:
            _scale(layer, config)
            layer.lora_A[_ADAPTER].out_features = layer.lora_B[_ADAPTER].in_features = config.r
        return model

    def _keep(self, key: Hashable, model: Any) -> None:
        """Keeps what a fresh model was drawn to be, if it is small and can be pickled."""
        own = {n: p for n, p in model.named_parameters() if id(p) not in self._shared}
        size = sum(weight.numel() * weight.element_size() for weight in own.values())
        if size > self._most:
            return
        if self._copies is None:
            given = {id(weight): name for name, weight in own.items()}
            given[id(model.peft_config[_ADAPTER])] = _ADAPTER
            try:
                self._copies = PickledCopies((model, [*_find_layers(model)]), self._shared, given)
            except Exception:  # a hook, say; each model is drawn then
                self._most = 0
                return
        while sum(drawn.size for drawn in self._drawn.values()) + size > self._most:
            del self._drawn[next(iter(self._drawn))]
        kept = {n: nn.Parameter(p.detach().clone(), p.requires_grad) for n, p in own.items()}
        self._drawn[key] = _Drawn(kept, torch.get_rng_state(), size)

    def _draw(self, config: LoraConfig) -> Any:
        model = copy_module(self._model, {**self._shared, id(self._config): config})
        for head in self._heads(model):
            initialize_fresh(model.base_model.model, head.original_module.float())
            head.original_module.requires_grad_(False)
            trained = copy_module(head.original_module, {})
            head.modules_to_save[_ADAPTER] = trained.requires_grad_(True)
        for layer in _find_layers(model):
            _fill(layer, config)
        return model

    def _heads(self, model: Any) -> list[Any]:
        return [model.base_model.model.get_submodule(name) for name in self._fresh]


def _make_template(
    base: BaseModel, method: MethodSettings, chosen: Hyperparameters, auto_class: str
) -> _Template | None:
    """Returns a template; None if its copy would not be the model that PEFT makes."""
    device = base.model.device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        model = adapt_model(base, method, chosen, auto_class)
        after = torch.get_rng_state()
    if not all(_ADAPTER in layer.lora_A for layer in _find_layers(model)):
        return None  # an embedding's adapter
    expected = _describe(model)
    template = _Template(model, base.fresh_modules)
    for _ in range(2):  # the second one's weights are known
        with torch.random.fork_rng(devices):
            found = _describe(template.copy(chosen))
            agrees = torch.equal(after, torch.get_rng_state())
        agrees = agrees and found.keys() == expected.keys()
        if not (agrees and all(map(_is_same, found.values(), expected.values()))):
            return None
    return template


def _find_layers(model: Any) -> Iterator[LoraLayer]:
    return (module for module in model.modules() if isinstance(module, LoraLayer))


def _describe(model: Any) -> dict[str, Any]:
    """Returns a model's weights, and each layer's scale, by name."""
    scales = {
        name: module.scaling[_ADAPTER]
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }
    return {**dict(model.named_parameters()), **scales}


def _is_same(found: Any, expected: Any) -> bool:
    if not isinstance(found, torch.Tensor):
        return bool(found == expected)
    if found.dtype != expected.dtype or found.requires_grad != expected.requires_grad:
        return False
    return found.data_ptr() == expected.data_ptr() or torch.equal(found, expected)


def _fill(layer: Any, config: LoraConfig) -> None:
    """Gives a layer a run's pair of matrices, as ``LoraLayer.update_layer`` does.

    DoRA's magnitudes stay: they start as the norms of the frozen weight alone, since B is zero.
    """
    _scale(layer, config)
    layer.lora_A[_ADAPTER] = nn.Linear(layer.in_features, config.r, bias=False)
    layer.lora_B[_ADAPTER] = nn.Linear(config.r, layer.out_features, bias=False)
    layer.reset_lora_parameters(_ADAPTER, config.init_lora_weights)
    frozen = layer.get_base_layer()
    computed = getattr(frozen, "compute_dtype", frozen.weight.dtype)  # the first: of nf4
    for matrix in (layer.lora_A[_ADAPTER], layer.lora_B[_ADAPTER]):
        drawn = matrix.weight.data  # not the module: ``nn.Module.to`` looks for more than that
        if computed.is_floating_point:  # PEFT rounds what it draws to the layer's type
            drawn = drawn.to(computed)
        matrix.weight.data = drawn.to(frozen.weight.device, torch.float32)


def _scale(layer: Any, config: LoraConfig) -> None:
    """Gives a layer a run's settings."""
    rank, root = config.r, config.use_rslora
    layer.r[_ADAPTER], layer.lora_alpha[_ADAPTER] = rank, config.lora_alpha
    layer.scaling[_ADAPTER] = config.lora_alpha / (math.sqrt(rank) if root else rank)
    dropout = config.lora_dropout
    layer.lora_dropout[_ADAPTER] = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
