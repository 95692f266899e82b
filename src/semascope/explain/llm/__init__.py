"""Clients of LMM servers: requests, replies, prompts, a fake server for tests."""
