"""What images are read by before they are compared: networks by name, each with its own preprocessing."""
