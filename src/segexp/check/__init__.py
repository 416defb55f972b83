"""Check a data set before training: what it holds, what is wrong with it and what looks suspicious.

`scan` reads every file once and keeps statistics (`image_stats`), never pixels; `rules` and `near_duplicates` judge
them; `report` holds the result as plain dataclasses, which `text` and `page` render; `dataset` runs the whole check.
`segexp check DIR` and the start of a training run use it.
"""
