"""`python -m serving.client`: the command line's client, which lives above this package."""

import runpy

if __name__ == "__main__":
    runpy.run_module("cli.client", run_name="__main__", alter_sys=True)
