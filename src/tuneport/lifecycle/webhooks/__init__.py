"""Notifications of ended jobs: webhooks as OpenAI sends and signs them, and e-mail, Slack and the rest for people.

`outbox` records deliveries in the transaction in which a job ends; `sender` sends them, at least once each.
"""
