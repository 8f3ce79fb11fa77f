"""Reading over HTTP: the JSON API, the pages, the probes, and the server on the worker's loop. Writes nothing."""
