"""Dense prediction tasks: channels, loss, meter and picture of each."""
