"""What several baselines share: heads, parallel networks, distillation between tasks, references."""
