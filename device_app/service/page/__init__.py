"""The page of the service: a person records, corrects, lets the model learn, and transcribes, in a browser.

`routes` has what `device_app.service.app` mounts. `static/` has the page: HTML, CSS and ES modules, without a build
step; `static/vendored/` has the libraries, which `scripts/vendored.py` renews. The modules here answer the page's
requests by calling the packages of the device app; `tasks/` runs what takes long in a process of its own.
"""
