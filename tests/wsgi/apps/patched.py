"""What gunicorn reads first where it loads the application before it forks, as gevent wants it."""

from importlib import import_module

import_module("gevent.monkey").patch_all()
