"""The application of the web tests serves here too."""

from tests.web.conftest import app, app_without_database, http, http_without_database

__all__ = ["app", "app_without_database", "http", "http_without_database"]
