"""What a run asks of the machine and the services around it."""
