"""
Real servers embedded for the demo and the tests: Apache Kafka and PostgreSQL from Python packages.

No Docker, no Java installation and no root needed. `worker` never imports this package.
"""
