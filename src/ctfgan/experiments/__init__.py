"""Many runs that belong together: the paper's tables, sweeps."""
