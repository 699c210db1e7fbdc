"""Files and directories on disk: run directories, JSON lines, locks, provenance."""
