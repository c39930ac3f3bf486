"""Predictions as files: a folder per task, a file per image; written by runs, read from any code base."""
