"""Work that takes long, such as learning: a process of lower priority, which outlives the browser and the service.

`state` is the file by which the process reports its progress, `process` starts and stops it, `work` is what it runs.
A profile has one task at a time.
"""
