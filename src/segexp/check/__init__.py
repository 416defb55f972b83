"""What is in a data set, what is wrong with it and what looks odd, before an hour is spent on training with it.

`scan` reads every file once and keeps facts (`facts`), never pixels; `findings` and `similar` judge them; `report`
holds the result as plain dataclasses, which `text` and `page` render; `dataset` is the whole. `segexp check DIR` and
the start of a training use it.
"""
