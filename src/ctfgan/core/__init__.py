"""What everything may use: errors, settings, files, progress, signals."""
