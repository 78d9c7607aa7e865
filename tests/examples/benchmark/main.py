import sys

from benchmarks.dimension.command import command

if __name__ == "__main__":
    sys.exit(command())
