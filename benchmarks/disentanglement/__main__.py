import sys

from benchmarks.disentanglement.command import command

if __name__ == "__main__":
    sys.exit(command())
