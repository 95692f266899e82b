"""Everything that travels over HTTP: requests, responses, events; and their OpenAPI schema."""
