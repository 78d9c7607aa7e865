"""What every command stands on: errors, command line, files, processes, provenance."""
