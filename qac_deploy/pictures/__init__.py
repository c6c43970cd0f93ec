"""Pictures and tables that notebooks show."""
