"""`python -m train`: run cli.train, found by its name, since the command line stands above this package."""

import runpy

if __name__ == "__main__":
    runpy.run_module("cli.train", run_name="__main__", alter_sys=True)
