import sys

from benchmarks.reproduce.command import command

if __name__ == "__main__":
    sys.exit(command())
