import sys

from benchmarks.figures.command import command

if __name__ == "__main__":
    sys.exit(command())
