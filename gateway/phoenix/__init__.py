"""The clients of Phoenix's HTTP APIs: sending, authentication, answers, and one folder for each product."""
