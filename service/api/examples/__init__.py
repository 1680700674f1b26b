"""One example for every body that a route takes or gives; the OpenAPI document shows them, a test holds them true."""
