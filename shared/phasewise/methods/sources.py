"""What ``from_pretrained`` takes for a study's model; imports no torch."""

from phasewise.methods.gguf import converted_folder
from phasewise.model_files import locate_model, require_hub
from phasewise.settings import ModelSettings


def resolve_model_path(model: ModelSettings) -> str:
    """Returns what ``from_pretrained`` takes: a local folder, or a hub id that can be had.

    A hub model in the cache is a folder too: by it nothing asks the hub, which may hang when it is
    away.

    Raises:
        ConfigError: No such folder or package, or a hub model neither cached nor reachable.
    """
    found = locate_model(model)
    if found is None:
        require_hub(model.source)
        return model.source
    return str(converted_folder(found) if found.is_file() else found)
