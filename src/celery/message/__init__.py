"""The task message: pure data, no I/O, no clock.

`task` has the message itself, `template` its fast writing, `headers` its lazy reading, `serializers`, `json` and
`compression` its body, `envelope` its form in stores that keep one text a message.
"""
