"""The task message: pure data, no I/O, no clock.

`writing` makes it as values, `template` in a fast way; `task` reads its headers and `body` the rest; `protocol1` turns the
old form into the new one. `headers` has JSON objects that are decoded only if somebody looks inside, `serializers`,
`json` and `compression` are about the body, `envelope` about the form in stores that keep one text a message.
"""
