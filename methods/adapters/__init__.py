"""Methods that a maintained library has: adapters that give its models the contract of ours."""
