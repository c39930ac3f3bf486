"""Pictures of predictions: panels of every task on one sheet per image, and a page that shows the sheets."""
