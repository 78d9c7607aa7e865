import sys

from benchmarks.reconstruction.command import command

if __name__ == "__main__":
    sys.exit(command())
