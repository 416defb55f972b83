"""The napari plugin: `pages` predicts and measures a layer, `widget` is the dock widget around it.

napari finds it through ``napari.yaml``; neither it nor Qt is imported before the widget is opened.
"""
