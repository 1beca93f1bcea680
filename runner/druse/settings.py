"""YAML files of settings, read with errors that say which file and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from druse.errors import ConfigError, ConfigNotFound


def read(file: Path, known: str) -> dict[str, Any]:
    """The mapping that a file holds; an empty file holds an empty one.

    `known` are words for what may be in it. Raises ConfigError.
    """
    try:
        values = yaml.safe_load(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigNotFound(f"{file} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is no valid YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file} has to be a mapping with {known}")
    return values
