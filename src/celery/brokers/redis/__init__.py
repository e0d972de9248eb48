"""Redis: the native driver, and the command client that the result backend shares."""
