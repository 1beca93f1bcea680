"""What a bucket's client needs besides its address: from the environment, or the provider's files.

obstore reads the environment by itself (AWS_ACCESS_KEY_ID and so on). Added here is what the
provider's own tools know beyond it: the profiles in `~/.aws`, and the names that they use.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import TypeAlias

Config: TypeAlias = "dict[str, str]"

_FILES = ("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config")
_NAMES = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint",
}


def config_for(url: str) -> Config:
    """Options for obstore; those that are in the environment already are left to it."""
    if url.startswith("az://"):
        return _endpoint("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
    if not url.startswith("s3://"):
        return {}
    config = {} if "AWS_ACCESS_KEY_ID" in os.environ else _profile()
    config |= _endpoint("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        config["region"] = region
    elif "endpoint" in config:
        config.setdefault("region", "us-east-1")
    return config


def _endpoint(*names: str) -> Config:
    """The server's address, by the first of these variables that is set."""
    found = next((os.environ[name] for name in names if os.environ.get(name)), None)
    return {} if found is None else {"endpoint": found}


def _profile() -> Config:
    """The user's profile, by name or the default one."""
    name = os.environ.get("AWS_PROFILE", "default")
    found: Config = {}
    for variable, file in _FILES:
        path = Path(os.environ.get(variable) or Path.home() / ".aws" / file)
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path, "utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
        for section in (name, f"profile {name}"):
            if parser.has_section(section):
                found |= {
                    ours: v for key, v in parser[section].items() if (ours := _NAMES.get(key))
                }
    return found
