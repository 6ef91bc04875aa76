"""Who is told when a job ends: webhooks as OpenAI sends and signs them, and people by e-mail, Slack and the rest.

`outbox` writes down whom to tell in the transaction in which a job ends; `sender` tells them, at least once each.
"""
