"""What an API key may be used beside money, shared by all instances without a store call for each request."""
