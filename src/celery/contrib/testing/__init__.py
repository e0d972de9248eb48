"""What the tests of projects use: an application in memory, a worker in a thread."""
