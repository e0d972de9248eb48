"""The pattern of Flask's documentation: tasks run in the application's context."""

import os

from flask import Flask, current_app

from celery import Celery, Task, shared_task


def celery_init_app(app: Flask) -> Celery:
    class FlaskTask(Task):
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app


def create_app() -> Flask:
    app = Flask("shop")
    app.config.from_mapping(
        GREETING="hello",
        CELERY={
            "broker_url": os.environ["BROKER"],
            "result_backend": os.environ["BACKEND"],
            "task_ignore_result": True,
        },
    )
    app.config.from_prefixed_env()
    celery_init_app(app)

    @app.post("/greet/<name>")
    def start(name: str) -> dict:
        return {"id": greet.delay(name).id}

    @app.get("/result/<task_id>")
    def result(task_id: str) -> dict:
        found = app.extensions["celery"].AsyncResult(task_id)
        return {"value": found.get(timeout=20), "successful": found.successful()}

    return app


@shared_task(ignore_result=False)
def greet(name: str) -> str:
    return f"{current_app.config['GREETING']} {name}"


flask_app = create_app()
app = flask_app.extensions["celery"]
