"""Training: configuration, the loop, averages, checkpoints, run folders. Importing it does not import torch."""
