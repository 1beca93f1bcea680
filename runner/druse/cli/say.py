"""Printing for people: what a record, a name or a message of others holds steers no terminal."""

from __future__ import annotations

import re

import click

# Control characters but for line ends and tabs, and those that turn the direction of a text.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def say(message: object, *, err: bool = False) -> None:
    """Prints a line, to standard error with `err`; what would steer a terminal as its escape."""
    click.echo(_STEERING.sub(_escaped, str(message)), err=err)


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"  # which is one in JSON, too
