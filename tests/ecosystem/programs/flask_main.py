"""A browser of the shop."""

from flask_tasks import flask_app, greet

if __name__ == "__main__":
    client = flask_app.test_client()
    task_id = client.post("/greet/Ann").json["id"]
    print(client.get(f"/result/{task_id}").json)
    with flask_app.app_context():
        print(greet("Bob"))
