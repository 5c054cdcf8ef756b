"""Who is told of what went wrong: one message when an incident begins, one when it is over, a reminder a day between.

    look.py        what is wrong at this moment, from evidence (and what Dagster alone knows)
    incidents.py   which of it belongs together and is new or over: pure
    letters.py     who is still to be told what: pure
    words.py       a letter as people and programs read it: pure
    post.py        letters through channels, within a bound of time, each channel for itself
    mail.py, webhook.py, folder.py    the channels

An incident is a code and its cause: ten datasets that can't reach one database are one. It stays open until each of
its units has succeeded, for the date or a later one.
"""
