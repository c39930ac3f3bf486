"""Methods for efficient multi-task inference."""
