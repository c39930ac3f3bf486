"""What a method costs: one probe per quantity."""
