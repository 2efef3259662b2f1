"""`python -m serving.client`: run cli.client, found by its name, since it stands above this package."""

import runpy

if __name__ == "__main__":
    runpy.run_module("cli.client", run_name="__main__", alter_sys=True)
