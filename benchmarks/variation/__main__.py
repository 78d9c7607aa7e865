import sys

from benchmarks.variation.command import command

if __name__ == "__main__":
    sys.exit(command())
