"""Optional checks: skipped where their program is missing, named at the end, never forgotten.

- `@pytest.mark.needs("restic")` runs where these programs are on PATH, or named by a variable
  ($DRUSE_TEST_RESTIC); elsewhere it is skipped, and fails under `tools/test --strict`.
- `@pytest.mark.asked("ceph")` runs only with `tools/test --with ceph`.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.project import Project

_homes = itertools.count()


@pytest.fixture(autouse=True)
def home_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test reads or writes the keys and settings of whoever runs it, nor another test's."""
    folder = tmp_path_factory.getbasetemp() / "config" / str(next(_homes))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """The process that cheap commands are forked from: see `support.forked`."""
    from support.forked import Server

    server = Server()
    yield server
    server.close()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project folder."""
    from support.project import Project

    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pyproject.toml").write_text("")
    return Project(tmp_path / "project")


@pytest.fixture
def chained(project: Project) -> Project:
    """A project with two chained experiments."""
    from support.project import numbers

    numbers(project)
    return project


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("optional checks")
    group.addoption("--strict-needs", action="store_true", help="a check that cannot run fails")
    group.addoption("--with", dest="asked", action="append", default=[], metavar="NAME")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(NotRun())
    # A shell that starts something in the background has it ignore Ctrl-C, and all that it starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    names = {name for mark in item.iter_markers("asked") for name in mark.args}
    unasked = sorted(names - set(item.config.getoption("asked")))
    if unasked:
        leave_out(item, f"to be asked for (--with {' --with '.join(unasked)})", strict=False)
    programs = [name for mark in item.iter_markers("needs") for name in mark.args]
    missing = [name for name in programs if program(name) is None]
    if missing:
        strict = item.config.getoption("strict_needs")
        leave_out(item, f"{', '.join(missing)} (not installed)", strict=strict)


def program(name: str) -> str | None:
    variable = name.upper().replace("-", "_")
    return os.environ.get(f"DRUSE_TEST_{variable}") or shutil.which(name)


def leave_out(item: pytest.Item, why: str, *, strict: bool) -> None:
    # A property travels with the report from an xdist worker to the process that sums up.
    item.user_properties.append(("needs", why))
    if strict:
        pytest.fail(f"needs {why}", pytrace=False)
    pytest.skip(f"needs {why}")


class NotRun:
    """Counts what was left out, by its reason; in the process that sums up, xdist or not."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "setup":
            self.reasons.update(str(why) for key, why in report.user_properties if key == "needs")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.reasons:
            terminalreporter.section("optional checks that did not run")
        for why, count in sorted(self.reasons.items()):
            terminalreporter.line(f"{count} need{'s' if count == 1 else ''} {why}")
