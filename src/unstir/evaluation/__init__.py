"""Measuring samples against held-out images: a reference classifier, Fréchet distances, label accuracy."""
