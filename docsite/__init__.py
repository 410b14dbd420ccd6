"""The documentation site: pages of docs/, a reference from docstrings, and a gallery, built by Sphinx.

    python -m docsite            # build/docs/html/index.html, readable from the disk, without a network

`docs/` holds Markdown that also reads well in a repository browser. What only a site has (navigation, the reference,
pictures, the results page) is made in a folder beside the output, and nothing of it is committed.
"""
