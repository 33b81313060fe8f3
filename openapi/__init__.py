"""The committed OpenAPI document and the tool that writes it."""
