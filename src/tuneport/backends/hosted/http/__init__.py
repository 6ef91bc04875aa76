"""The way of a request to a provider: clients, proxies, deadlines, redirects, rate limits and what answers may be."""
