"""What `flask --app app doctor --online` asks, and whom. Loaded by the command line only."""
