"""Annotation of other programs, turned into masks: outlines (`outlines`), Cellpose's files (`cellpose`), pictures
(`pictures`); `convert` does it for a folder. The command is ``segexp masks``.
"""
