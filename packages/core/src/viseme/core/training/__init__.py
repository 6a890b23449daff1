"""Training: the Lightning trainer assembled from a typed config, schedules, exponential moving averages, the alarm for a
run that does not learn, and resuming so exactly that nobody can tell."""
