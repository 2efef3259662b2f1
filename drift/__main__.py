"""`python -m drift`: the command line, which lives above this package and is found when it is run."""

import runpy

if __name__ == "__main__":
    runpy.run_module("cli.drift", run_name="__main__", alter_sys=True)
