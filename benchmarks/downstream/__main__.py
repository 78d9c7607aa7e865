import sys

from benchmarks.downstream.command import command

if __name__ == "__main__":
    sys.exit(command())
