"""The commands of tools/torture. Each is a module with a docstring, `add_arguments` and `main`."""

import argparse
import importlib
import random
import sys
import tempfile
from pathlib import Path

COMMANDS = ("kill", "flip", "enospc", "soak", "collect", "alone", "run")


def main():
    parser = argparse.ArgumentParser(prog="tools/torture")
    commands = parser.add_subparsers(dest="command", required=True)
    modules = {name: importlib.import_module(f"torture_{name}") for name in COMMANDS}
    for name, module in modules.items():
        command = commands.add_parser(name, description=module.__doc__)
        command.add_argument("--seed", type=int, default=random.randrange(1 << 31))
        command.add_argument("--dir", help="where the store goes (a folder on the disk to use)")
        module.add_arguments(command)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="druse-torture-", dir=options.dir) as folder:
        problems = modules[options.command].main(options, Path(folder))
    for problem in problems:
        print(f"PROBLEM: {problem}")
    print(f"{options.command}: {len(problems)} problems, seed {options.seed}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
