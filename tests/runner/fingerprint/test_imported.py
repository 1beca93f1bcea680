"""Modules that code imports by calls which spell their names out."""

from __future__ import annotations

import pytest

from support.edited import Project

HEAD = "import importlib\nfrom importlib import import_module\n"


def write(project: Project, body: str) -> None:
    project.write(steps=f"{HEAD}def step(x):\n    {body}\n")
    project.write(helpers="def f(x): return x + 1\ndef g(x): return x\n")


@pytest.mark.parametrize(
    "body",
    [
        "return importlib.import_module('helpers').f(x)",
        "return import_module('helpers').f(x)",
        "return import_module(name='helpers').f(x)",
        "m = importlib.import_module('helpers')\n    return m.f(x)",
        "from importlib import import_module\n    return import_module('helpers').f(x)",
        "return __import__('helpers').f(x)",
        "return [h.f(x) for h in (import_module('helpers'),)]",
        "return (lambda: import_module('helpers'))().f(x)",
        "m = None\n    m = import_module('helpers')\n    return m.f(x)",
    ],
)
def test_a_module_counts_and_is_no_blind_spot_where_its_name_is_spelt_out(
    project: Project, body: str
) -> None:
    write(project, body)
    before = project.key()
    assert not [spot for spot in before.blind_spots if "modules by" in spot], before.blind_spots
    project.write(helpers="def f(x): return x + 2\ndef g(x): return x\n")
    assert project.key().digest != before.digest


@pytest.mark.parametrize(
    "body",
    [
        "return importlib.import_module('helpers').f(x)",
        "m = importlib.import_module('helpers')\n    return m.f(x)",
        "return __import__('helpers').f(x)",
    ],
)
def test_what_is_not_read_of_it_does_not_count(project: Project, body: str) -> None:
    write(project, body)
    before = project.key()
    project.write(helpers="def f(x): return x + 1\ndef g(x): return x + 7\n")
    assert project.key().digest == before.digest


@pytest.mark.parametrize(
    "body",
    [
        "return import_module(x)",
        "return import_module('help' + 'ers')",
        "return import_module(f'helpers')",
        "return import_module('.helpers', x)",
        "return import_module('.helpers')",
        "return import_module(*['helpers'])",
        "return __import__(x)",
        "return __import__('helpers', globals())",
        "f = import_module\n    return f('helpers')",
    ],
)
def test_one_whose_name_is_computed_is_a_blind_spot(project: Project, body: str) -> None:
    write(project, body)
    assert any("modules by computed names" in spot for spot in project.key().blind_spots)


@pytest.mark.parametrize("package", ["__package__", "'pack'", "package='pack'"])
def test_a_module_beside_the_code_counts(project: Project, package: str) -> None:
    folder = project.folder / "pack"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "near.py").write_text("def f(x): return x\n")
    (folder / "code.py").write_text(
        f"import importlib\ndef f(x): return importlib.import_module('.near', {package}).f(x)\n"
    )
    project.write(steps="from pack.code import f\ndef step(x): return f(x)\n")
    before = project.key()
    assert not before.blind_spots
    (folder / "near.py").write_text("def f(x): return x + 1\n")
    assert project.key().digest != before.digest


def test_a_function_of_that_name_that_is_the_users_own_counts(project: Project) -> None:
    source = "def import_module(n): return {}\ndef step(x): return import_module('nowhere')\n"
    project.write(steps=source)
    before = project.key()
    project.write(steps=source.replace("{}", "[]"))
    assert project.key().digest != before.digest


def test_a_package_counts_by_its_version_as_in_a_statement(project: Project) -> None:
    project.write(steps=f"{HEAD}def step(x): return import_module('yaml').safe_load(x)\n")
    assert any("pyyaml" in str(found).lower() for found in project.key().components)
