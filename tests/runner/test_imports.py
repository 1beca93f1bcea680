"""What is executed is what the files say, and what was hashed."""

from __future__ import annotations

import os
import time

import pytest

from support.oneexp import Exp

HELPER = "def helped():\n    return 1\n"


def in_one_second(exp: Exp, name: str, old: str, new: str) -> None:
    """Changes a file so that its size and the second of its time stay as they were."""
    before = (exp.root / name).stat()
    exp.replace(name, old, new)
    os.utime(exp.root / name, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))
    assert (exp.root / name).stat().st_size == before.st_size


@pytest.mark.parametrize("name", ["exp/steps.py", "exp/beside.py", "above.py", "pkg/__init__.py"])
def test_an_edit_of_the_same_size_within_a_second_is_executed(exp: Exp, name: str) -> None:
    exp["exp/beside.py"] = exp["above.py"] = exp["pkg/__init__.py"] = HELPER
    exp.step(
        "return data, {'value': beside.helped() + above.helped() + pkg.helped() + 1}",
        "import above, pkg\nfrom exp import beside",
    )
    time.sleep(1 - time.time() % 1)
    env = {"PYTHONDONTWRITEBYTECODE": ""}
    assert exp.slow("run", "exp", "--quiet", env=env).status == 0
    in_one_second(
        exp,
        name,
        "+ 1}" if name == "exp/steps.py" else "return 1",
        "+ 2}" if name == "exp/steps.py" else "return 2",
    )
    assert exp.slow("run", "exp", "--quiet", env=env).status == 0
    assert exp.value() == 5
    assert exp.hits()


EDITED = """
    import sys, os
    from druse.fingerprint import closure
    from druse import imports
    imports.install()
    sys.path.insert(0, "lib")
    open("lib/late.py", "w").write("class Fields:\\n    a: int\\n\\ndef f():\\n    return 1\\n")
    import late
    before = closure(late.f), closure(late.Fields)
    open("lib/late.py", "w").write("class Fields:\\n    a: str\\n\\ndef f():\\n    return 2\\n")
    late.g = late.f
    after = closure(late.f), closure(late.Fields)
    print([b.digest == a.digest and a.uncacheable is None for b, a in zip(before, after)])
"""


def test_what_was_executed_counts_though_the_file_was_edited_since(exp: Exp) -> None:
    exp["lib/.keep"] = ""
    assert exp.python(EDITED) == "[True, True]\n"


CONSTANT = """
    import sys
    from druse.fingerprint import closure
    from druse.fingerprint.loaded import user_modules
    sys.path.insert(0, "lib")
    open("lib/conf.py", "w").write("K = 1\\n")
    open("lib/using.py", "w").write("from conf import K\\n\\ndef f():\\n    return K\\n")
    open("lib/apart.py", "w").write("def f():\\n    return 1\\n")
    import conf, using, apart
    key = closure(lambda: (using.f(), apart.f(), repr(conf)))
    open("lib/conf.py", "w").write("K = 2\\n")
    loaded, changed = user_modules(["conf", "using", "apart"])
    print([each.name for each in loaded], sorted({each.__name__ for each in changed} - {"program"}))
    print(closure(lambda: vars(conf)).uncacheable)
"""


def test_a_module_without_functions_that_changed_travels_by_value_with_those_that_import_it(
    exp: Exp,
) -> None:
    exp["lib/.keep"] = ""
    first, second = exp.python(CONSTANT).splitlines()
    assert first == "['apart'] ['conf', 'using']"
    assert "conf.py has changed since it was imported" in second
