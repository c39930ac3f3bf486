"""The leaderboard: records as a static site of tables, Pareto fronts and one page per record."""
