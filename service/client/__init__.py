"""The command line's client: it talks HTTP to the service and knows nothing of its inside."""
