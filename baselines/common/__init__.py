"""Shared parts of baselines: conventions of tasks, parallel networks, distillation between tasks."""
