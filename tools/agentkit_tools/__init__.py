"""Built-in tools of agentkit: clock, fetch and code_interpreter."""
