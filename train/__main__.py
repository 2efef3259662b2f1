"""`python -m train`: the command line, which lives above this package and is found when it is run."""

import runpy

if __name__ == "__main__":
    runpy.run_module("cli.train", run_name="__main__", alter_sys=True)
