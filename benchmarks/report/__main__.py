import sys

from benchmarks.report.command import command

if __name__ == "__main__":
    sys.exit(command())
