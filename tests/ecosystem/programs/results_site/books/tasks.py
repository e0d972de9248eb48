from celery import shared_task


@shared_task
def add(x, y):
    return x + y


@shared_task
def total(numbers):
    return sum(numbers)


@shared_task
def fail(text):
    raise ValueError(text)


@shared_task(bind=True)
def marked(self):
    self.request.meta = {"shelf": 3}
    self.update_state(state="PROGRESS", meta={"done": 1})
    return self.request.id


@shared_task(bind=True, max_retries=1)
def again(self):
    if not self.request.retries:
        raise self.retry(exc=KeyError("once"), countdown=0)
    return "at last"
