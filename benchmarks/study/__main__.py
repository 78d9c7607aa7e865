"""`python -m benchmarks.study`."""

from benchmarks.study.command import command

if __name__ == "__main__":
    raise SystemExit(command())
