"""The report as one self-contained HTML page.

``frame`` puts a page together: head, tabs, styles and scripts. A part of the page is a ``View``, listed in
``tabs``; every view can be read without scripts, which only add to it.
"""
