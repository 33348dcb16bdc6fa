"""The pages of docs/, which links here bring into what is installed."""
