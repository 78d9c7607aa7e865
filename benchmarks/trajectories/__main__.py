import sys

from benchmarks.trajectories.command import command

if __name__ == "__main__":
    sys.exit(command())
