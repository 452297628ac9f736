"""Scenes of one to three shapes: a captioned set without end that needs no download and is exactly known.

``scenes`` says what is in scene i, ``captions`` puts it into words and reads them back, ``pictures`` draws it at
any resolution, and ``contents`` makes a data set of them.
"""

from unstir.data.shapes.captions import Stated, caption, parse
from unstir.data.shapes.pictures import render
from unstir.data.shapes.scenes import HELD_OUT, Scene, Shape, scene

__all__ = ["HELD_OUT", "Scene", "Shape", "Stated", "caption", "parse", "render", "scene"]
