import sys

from benchmarks.cost.command import command

if __name__ == "__main__":
    sys.exit(command())
