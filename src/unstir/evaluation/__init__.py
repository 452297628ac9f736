"""Measuring samples against real images: a reference classifier, Fréchet distances, label accuracy."""
