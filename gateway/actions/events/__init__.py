"""Actions of EventService: submit, queue, and handle dead letters."""
