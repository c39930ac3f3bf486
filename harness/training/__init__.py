"""Training: loop, optimisers, schedules, checkpoints, shared recipes."""
