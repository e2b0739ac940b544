"""The centre of a site: the messages of its edges to identities, each message counted once, whatever dies."""
