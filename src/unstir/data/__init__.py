"""Images by name or folder: found, decoded once to a memory-mapped cache, and read in batches.

``sources`` finds where images are, ``load`` decodes them, ``dataset`` holds them, ``order`` says in which order
training meets them. This package imports nothing by itself, so that checking an input stays fast.
"""
