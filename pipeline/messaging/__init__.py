"""What edges and a centre say to each other: messages, the broker, and the spool that bridges its absence."""
