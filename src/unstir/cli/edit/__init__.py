"""``unstir edit``: what a model does with an image that the user gives; one file for each task."""

import typer

from unstir.cli.edit.clean import clean
from unstir.cli.edit.deblur import deblur
from unstir.cli.edit.inpaint import inpaint
from unstir.cli.edit.vary import vary

edit = typer.Typer(name="edit", help="Change an image of yours with a trained model.")
edit.command(epilog="Example: unstir edit clean runs/mnist-dae noisy.png --out cleaned.png")(clean)
edit.command(epilog="Example: unstir edit inpaint runs/mnist seven.png --mask hole.png --label 7 -n 8")(inpaint)
edit.command(epilog="Example: unstir edit vary runs/mnist seven.png --strength 0.6 --label 7 -n 8")(vary)
edit.command(epilog="Example: unstir edit deblur runs/mnist blurred.png --sigma 2 --label 7")(deblur)
