"""What untrusted texts may make slow or large, in a process that can be killed."""
