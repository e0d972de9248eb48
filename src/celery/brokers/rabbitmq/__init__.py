"""The native driver for RabbitMQ: `amqp://`, `amqps://`, `pyamqp://`."""
