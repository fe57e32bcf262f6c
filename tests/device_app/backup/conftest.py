from tests.data_folder import filled, filled_home  # noqa: F401
