from tests.data_folder import filled, filled_home  # noqa: F401
from tests.device_app.service.conftest import client, service, start, url  # noqa: F401 (fixtures)
from tests.hostile.machines import host, tiny, two_seconds  # noqa: F401 (fixtures)
