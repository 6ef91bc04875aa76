"""The shared parts of all routes: access, rate limits, errors, uploads, metrics, the OpenAPI document."""
