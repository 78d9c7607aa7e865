import sys

from benchmarks.generation.command import command

if __name__ == "__main__":
    sys.exit(command())
