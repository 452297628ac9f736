"""``unstir edit``: what a model does with an image that the user gives."""

import typer

from unstir.cli.edit.clean import clean
from unstir.cli.edit.deblur import deblur
from unstir.cli.edit.inpaint import inpaint
from unstir.cli.edit.meaning import interpolate, manipulate
from unstir.cli.edit.palette import colorize, restore, uncrop, upscale
from unstir.cli.edit.reconstruct import reconstruct
from unstir.cli.edit.vary import vary

edit = typer.Typer(name="edit", help="Change an image of yours with a trained model.")
edit.command(epilog="Example: unstir edit clean runs/mnist-dae noisy.png --out cleaned.png")(clean)
edit.command(epilog="Example: unstir edit inpaint runs/mnist seven.png --mask hole.png --label 7 -n 8")(inpaint)
edit.command(epilog="Example: unstir edit colorize runs/palette gray.png -n 4 --out coloured.png")(colorize)
edit.command(epilog="Example: unstir edit uncrop runs/palette photo.png --side left --out wider.png")(uncrop)
edit.command(epilog="Example: unstir edit restore runs/palette poor.jpg --out better.png")(restore)
edit.command(epilog="Example: unstir edit upscale runs/palette small.png --factor 2 --out large.png")(upscale)
edit.command(epilog="Example: unstir edit vary runs/mnist seven.png --strength 0.6 --label 7 -n 8")(vary)
edit.command(epilog="Example: unstir edit interpolate runs/mnist-diffae seven.png nine.png")(interpolate)
edit.command(epilog="Example: unstir edit manipulate runs/mnist-diffae four.png --towards 9 --by 0.3")(manipulate)
edit.command(epilog="Example: unstir edit deblur runs/mnist blurred.png --sigma 2 --label 7")(deblur)
edit.command(epilog="Example: unstir edit reconstruct runs/emoji-codec photo.png")(reconstruct)
