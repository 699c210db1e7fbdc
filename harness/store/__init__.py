"""What is on disk: run directories, JSON lines, locks, provenance."""
