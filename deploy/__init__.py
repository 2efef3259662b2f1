"""What is said of the image and its lock before they are deployed: contents, known vulnerabilities."""
