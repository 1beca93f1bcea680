"""The commands of tools/bench. Each is a module with a docstring, `add_arguments` and `main`."""

import argparse
import importlib
import sys

COMMANDS = {
    "store": "store_bench",
    "gc": "gc_bench",
    "runner": "runner_bench",
    "share": "share_bench",
}


def main():
    parser = argparse.ArgumentParser(prog="tools/bench", description="druse beside its peers")
    commands = parser.add_subparsers(dest="command", required=True)
    modules = {name: importlib.import_module(module) for name, module in COMMANDS.items()}
    for name, module in modules.items():
        command = commands.add_parser(name, description=module.__doc__)
        command.add_argument("--quick", action="store_true", help="less data, one round")
        command.add_argument("--json", action="store_true", help="print JSON instead of a table")
        command.add_argument("--rounds", type=int, help="how often each is measured (3; quick: 1)")
        command.add_argument("--dir", help="where the files go (a folder on the disk to measure)")
        command.add_argument("--only", metavar="TEXT", help="only the rows whose name contains it")
        module.add_arguments(command)
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    return modules[options.command].main(options)


if __name__ == "__main__":
    sys.exit(main())
