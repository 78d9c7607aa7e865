"""Models behind one interface: `load.load(source)` opens a checkpoint, `interface` says what benchmarks ask of it."""
