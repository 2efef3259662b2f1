"""`python -m drift`: run cli.drift, found by its name, since this package may import nothing of ours."""

import runpy

if __name__ == "__main__":
    runpy.run_module("cli.drift", run_name="__main__", alter_sys=True)
