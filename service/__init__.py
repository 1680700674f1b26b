"""The application: engine, HTTP routes and command line over the packages below it."""
